"""A pool does few tasks at once, in their order; whoever waits for a client holds up nobody."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from serving.server.thread_pool import (
    ThreadPool,
    ThreadUnavailable,
    acquire_yielding_slot,
    release_slot,
    yield_slot,
)

PATIENCE = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """Two at work, four threads at most."""
    started = ThreadPool("test", 2, 4)
    yield started
    started.shutdown()


class Task:
    """A task that says when it begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.over.wait(PATIENCE)


class Patient(Task):
    """The same, but it waits for a client."""

    def __call__(self) -> None:
        with yield_slot():
            super().__call__()


def begun(tasks: list[Task]) -> list[bool]:
    """Which of them have begun, after all that could begin had the time to."""
    time.sleep(0.3)
    return [task.begun.is_set() for task in tasks]


def end(*tasks: Task) -> None:
    for task in tasks:
        task.over.set()


def test_few_at_once_and_the_others_in_their_order(pool: ThreadPool) -> None:
    tasks = [Task() for _ in range(5)]
    for task in tasks:
        pool.submit(task)
    assert begun(tasks) == [True, True, False, False, False]
    assert pool.waiting == 3
    end(tasks[1])
    assert tasks[2].begun.wait(PATIENCE)
    assert begun(tasks) == [True, True, True, False, False]
    end(*tasks)
    assert all(task.begun.wait(PATIENCE) for task in tasks)
    assert pool.waiting == 0


def test_whoever_waits_for_a_client_is_not_counted(pool: ThreadPool) -> None:
    patient = [Patient(), Patient()]
    tasks = [Task() for _ in range(3)]
    for task in [*patient, *tasks]:
        pool.submit(task)
    assert begun([*patient, *tasks]) == [True, True, True, True, False]
    end(*patient)
    assert begun(tasks) == [True, True, False]
    end(*tasks)
    assert tasks[2].begun.wait(PATIENCE)


def test_no_more_threads_than_there_may_be(pool: ThreadPool) -> None:
    patient = [Patient() for _ in range(6)]
    for task in patient:
        pool.submit(task)
    assert begun([*patient]) == [True] * 4 + [False] * 2
    end(*patient)
    assert all(task.begun.wait(PATIENCE) for task in patient)


def test_what_is_overdue_begins_beside_the_others(pool: ThreadPool) -> None:
    tasks = [Task() for _ in range(3)]
    for task in tasks:
        pool.submit(task)
    pool.start_overdue(60)
    assert begun(tasks) == [True, True, False]
    pool.start_overdue(0.05)
    assert begun(tasks) == [True, True, True]
    end(*tasks)


def test_a_failure_costs_no_thread(pool: ThreadPool) -> None:
    def fail() -> None:
        raise ValueError("of the task")

    for _ in range(8):
        pool.submit(fail)
    tasks = [Task(), Task()]
    for task in tasks:
        pool.submit(task)
    assert begun([*tasks]) == [True, True]
    end(*tasks)


def test_nothing_is_lost_under_pressure() -> None:
    pool, done = ThreadPool("test", 2, 8), []

    def work(number: int) -> None:
        if number % 3 == 0:
            with yield_slot():
                time.sleep(0.001)
        done.append(number)

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(lambda number: pool.submit(lambda: work(number)), range(2000)))
    until = time.monotonic() + PATIENCE
    while len(done) < 2000 and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(done) == list(range(2000))
    pool.shutdown()


def test_at_the_end_no_thread_is_left() -> None:
    before = threading.active_count()
    pool, task = ThreadPool("test", 2, 4), Task()
    pool.submit(task)
    assert task.begun.wait(PATIENCE)
    pool.shutdown(wait=False)
    end(task)
    until = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before


# A thread is started, and meanwhile somebody ends the process, whose handler dismisses the pool.
INTERRUPTED = """
import os, signal, sys, threading
from serving.server.thread_pool import ThreadPool

pool, start = ThreadPool("test", 2, 4), threading.Thread.start

def interrupted(thread):
    os.kill(os.getpid(), signal.SIGQUIT)
    start(thread)

def end(*_):
    pool.shutdown(wait=False)
    sys.exit(7)

signal.signal(signal.SIGQUIT, end)
threading.Thread.start = interrupted
pool.submit(lambda: None)
"""


def test_a_signal_in_the_midst_ends_the_process() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    assert subprocess.run(command, timeout=PATIENCE, check=False).returncode == 7


def test_without_a_thread_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ThreadUnavailable):
        ThreadPool("test", 2, 4).submit(Task())


def test_whoever_waits_for_a_lock_is_not_counted(pool: ThreadPool) -> None:
    lock, task, done = threading.Lock(), Task(), threading.Semaphore(0)

    def locked() -> None:
        with acquire_yielding_slot(lock):
            done.release()

    with lock:
        pool.submit(locked)
        pool.submit(locked)
        pool.submit(task)
        assert task.begun.wait(PATIENCE)
        assert not done.acquire(blocking=False)
    assert done.acquire(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)
    end(task)


def test_whoever_has_all_but_done_makes_place() -> None:
    pool, leaving, later = ThreadPool("test", 1, 2), Task(), Task()
    left = threading.Event()

    def task() -> None:
        release_slot()
        left.set()
        leaving()

    pool.submit(task)
    assert left.wait(PATIENCE)
    assert not pool.full
    pool.submit(later)
    assert later.begun.wait(PATIENCE)
    assert pool.full
    end(leaving, later)
    pool.shutdown()


def test_clients_take_turns_and_each_has_its_own_order(pool: ThreadPool) -> None:
    order: list[str] = []
    gates = [Task(), Task()]
    for gate in gates:
        pool.submit(gate, "greedy")
    for name in ("greedy 1", "greedy 2", "greedy 3", "other 1", "other 2"):
        pool.submit(partial(order.append, name), name.split()[0])
    pool.submit(partial(order.append, "third 1"), "third")
    end(gates[0])
    until = time.monotonic() + PATIENCE
    while len(order) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    assert order == ["greedy 1", "other 1", "third 1", "greedy 2", "other 2", "greedy 3"]
    end(gates[1])


def test_who_has_less_takes_the_place_of_who_has_most(pool: ThreadPool) -> None:
    gates = [Task(), Task()]
    for gate in gates:
        pool.submit(gate, "greedy")
    assert pool.evict_newest("other") is None
    first, newest, single = Task(), Task(), Task()
    pool.submit(first, "greedy")
    pool.submit(newest, "greedy")
    pool.submit(single, "other")
    assert pool.evict_newest("greedy") is None
    assert pool.evict_newest("third") is newest
    # What is at work counts too: the greedy one has three left, and the other one.
    assert pool.evict_newest("other") is first
    assert pool.evict_newest("other") is None
    assert pool.waiting == 1
    end(*gates)
    assert single.begun.wait(PATIENCE)
    end(single)
