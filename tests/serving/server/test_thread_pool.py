"""The thread pool runs few tasks at once, in order and in turn; a task that waits gives up its slot."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
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

TIMEOUT = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """Two slots, four threads at most."""
    started = ThreadPool("test", 2, 4)
    yield started
    started.shutdown()


class Task:
    """A task that records its start and ends on request."""

    def __init__(self) -> None:
        self.started, self.over = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.started.set()
        assert self.over.wait(TIMEOUT)


class YieldingTask(Task):
    """The same, but it gives up its slot meanwhile."""

    def __call__(self) -> None:
        with yield_slot():
            super().__call__()


def expect_started(tasks: Sequence[Task], expected: list[bool]) -> None:
    """Waits for the tasks that must start, and checks that no other one has."""
    for task, starts in zip(tasks, expected, strict=True):
        assert not starts or task.started.wait(TIMEOUT)
    time.sleep(0.1)
    assert [task.started.is_set() for task in tasks] == expected


def end(*tasks: Task) -> None:
    for task in tasks:
        task.over.set()


def test_few_run_at_once_and_the_others_in_order(pool: ThreadPool) -> None:
    tasks = [Task() for _ in range(5)]
    for task in tasks:
        pool.submit(task)
    expect_started(tasks, [True, True, False, False, False])
    assert pool.waiting == 3
    end(tasks[1])
    assert tasks[2].started.wait(TIMEOUT)
    expect_started(tasks, [True, True, True, False, False])
    end(*tasks)
    assert all(task.started.wait(TIMEOUT) for task in tasks)
    assert pool.waiting == 0


def test_yielding_task_holds_no_slot(pool: ThreadPool) -> None:
    yielding = [YieldingTask(), YieldingTask()]
    tasks = [Task() for _ in range(3)]
    for task in [*yielding, *tasks]:
        pool.submit(task)
    expect_started([*yielding, *tasks], [True, True, True, True, False])
    end(*yielding)
    expect_started(tasks, [True, True, False])
    end(*tasks)
    assert tasks[2].started.wait(TIMEOUT)


def test_threads_are_limited(pool: ThreadPool) -> None:
    yielding = [YieldingTask() for _ in range(6)]
    for task in yielding:
        pool.submit(task)
    expect_started([*yielding], [True] * 4 + [False] * 2)
    end(*yielding)
    assert all(task.started.wait(TIMEOUT) for task in yielding)


def test_overdue_tasks_start_without_a_slot(pool: ThreadPool) -> None:
    tasks = [Task() for _ in range(3)]
    for task in tasks:
        pool.submit(task)
    pool.start_overdue(60)
    expect_started(tasks, [True, True, False])
    pool.start_overdue(0.05)
    expect_started(tasks, [True, True, True])
    end(*tasks)


def test_a_failure_costs_no_thread(pool: ThreadPool) -> None:
    def fail() -> None:
        raise ValueError("of the task")

    for _ in range(8):
        pool.submit(fail)
    tasks = [Task(), Task()]
    for task in tasks:
        pool.submit(task)
    expect_started([*tasks], [True, True])
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
    until = time.monotonic() + TIMEOUT
    while len(done) < 2000 and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(done) == list(range(2000))
    pool.shutdown()


def test_shutdown_leaves_no_thread() -> None:
    before = threading.active_count()
    pool, task = ThreadPool("test", 2, 4), Task()
    pool.submit(task)
    assert task.started.wait(TIMEOUT)
    pool.shutdown(wait=False)
    end(task)
    until = time.monotonic() + TIMEOUT
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before


# A signal arrives while a thread is started, and its handler shuts the pool down.
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


def test_signal_during_submit_ends_the_process() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    assert subprocess.run(command, timeout=TIMEOUT, check=False).returncode == 7


def test_thread_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ThreadUnavailable):
        ThreadPool("test", 2, 4).submit(Task())


def test_task_that_waits_for_a_lock_holds_no_slot(pool: ThreadPool) -> None:
    lock, task, done = threading.Lock(), Task(), threading.Semaphore(0)

    def locked() -> None:
        with acquire_yielding_slot(lock):
            done.release()

    with lock:
        pool.submit(locked)
        pool.submit(locked)
        pool.submit(task)
        assert task.started.wait(TIMEOUT)
        assert not done.acquire(blocking=False)
    assert done.acquire(timeout=TIMEOUT)
    assert done.acquire(timeout=TIMEOUT)
    end(task)


def test_released_slot_is_free() -> None:
    pool, leaving, later = ThreadPool("test", 1, 2), Task(), Task()
    left = threading.Event()

    def task() -> None:
        release_slot()
        left.set()
        leaving()

    pool.submit(task)
    assert left.wait(TIMEOUT)
    assert not pool.full
    pool.submit(later)
    assert later.started.wait(TIMEOUT)
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
    until = time.monotonic() + TIMEOUT
    while len(order) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    assert order == ["greedy 1", "other 1", "third 1", "greedy 2", "other 2", "greedy 3"]
    end(gates[1])


def test_newest_task_of_the_busiest_client_is_evicted(pool: ThreadPool) -> None:
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
    # Running tasks count too: the greedy client has three left, the other one has one.
    assert pool.evict_newest("other") is first
    assert pool.evict_newest("other") is None
    assert pool.waiting == 1
    end(*gates)
    assert single.started.wait(TIMEOUT)
    end(single)
