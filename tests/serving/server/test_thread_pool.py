"""A crew does few tasks at once, in their order; whoever waits for a client holds up nobody."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from serving.server.thread_pool import Crew, NoThread, aside, holding, leave

PATIENCE = 10.0


@pytest.fixture
def crew() -> Iterator[Crew]:
    """Two at work, four threads at most."""
    started = Crew("test", 2, 4)
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
        with aside():
            super().__call__()


def begun(tasks: list[Task]) -> list[bool]:
    """Which of them have begun, after all that could begin had the time to."""
    time.sleep(0.3)
    return [task.begun.is_set() for task in tasks]


def end(*tasks: Task) -> None:
    for task in tasks:
        task.over.set()


def test_few_at_once_and_the_others_in_their_order(crew: Crew) -> None:
    tasks = [Task() for _ in range(5)]
    for task in tasks:
        crew.submit(task)
    assert begun(tasks) == [True, True, False, False, False]
    assert crew.waiting == 3
    end(tasks[1])
    assert tasks[2].begun.wait(PATIENCE)
    assert begun(tasks) == [True, True, True, False, False]
    end(*tasks)
    assert all(task.begun.wait(PATIENCE) for task in tasks)
    assert crew.waiting == 0


def test_whoever_waits_for_a_client_is_not_counted(crew: Crew) -> None:
    patient = [Patient(), Patient()]
    tasks = [Task() for _ in range(3)]
    for task in [*patient, *tasks]:
        crew.submit(task)
    assert begun([*patient, *tasks]) == [True, True, True, True, False]
    end(*patient)
    assert begun(tasks) == [True, True, False]
    end(*tasks)
    assert tasks[2].begun.wait(PATIENCE)


def test_no_more_threads_than_there_may_be(crew: Crew) -> None:
    patient = [Patient() for _ in range(6)]
    for task in patient:
        crew.submit(task)
    assert begun([*patient]) == [True] * 4 + [False] * 2
    end(*patient)
    assert all(task.begun.wait(PATIENCE) for task in patient)


def test_what_is_overdue_begins_beside_the_others(crew: Crew) -> None:
    tasks = [Task() for _ in range(3)]
    for task in tasks:
        crew.submit(task)
    crew.hurry(60)
    assert begun(tasks) == [True, True, False]
    crew.hurry(0.05)
    assert begun(tasks) == [True, True, True]
    end(*tasks)


def test_a_failure_costs_no_thread(crew: Crew) -> None:
    def fail() -> None:
        raise ValueError("of the task")

    for _ in range(8):
        crew.submit(fail)
    tasks = [Task(), Task()]
    for task in tasks:
        crew.submit(task)
    assert begun([*tasks]) == [True, True]
    end(*tasks)


def test_nothing_is_lost_under_pressure() -> None:
    crew, done = Crew("test", 2, 8), []

    def work(number: int) -> None:
        if number % 3 == 0:
            with aside():
                time.sleep(0.001)
        done.append(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: crew.submit(lambda: work(number)), range(2000)))
    until = time.monotonic() + PATIENCE
    while len(done) < 2000 and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(done) == list(range(2000))
    crew.shutdown()


def test_at_the_end_no_thread_is_left() -> None:
    before = threading.active_count()
    crew, task = Crew("test", 2, 4), Task()
    crew.submit(task)
    assert task.begun.wait(PATIENCE)
    crew.shutdown(wait=False)
    end(task)
    until = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before


# A thread is started, and meanwhile somebody ends the process, whose handler dismisses the crew.
INTERRUPTED = """
import os, signal, sys, threading
from serving.server.thread_pool import Crew

crew, start = Crew("test", 2, 4), threading.Thread.start

def interrupted(thread):
    os.kill(os.getpid(), signal.SIGQUIT)
    start(thread)

def end(*_):
    crew.shutdown(wait=False)
    sys.exit(7)

signal.signal(signal.SIGQUIT, end)
threading.Thread.start = interrupted
crew.submit(lambda: None)
"""


def test_a_signal_in_the_midst_ends_the_process() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    assert subprocess.run(command, timeout=PATIENCE, check=False).returncode == 7


def test_without_a_thread_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(NoThread):
        Crew("test", 2, 4).submit(Task())


def test_whoever_waits_for_a_lock_is_not_counted(crew: Crew) -> None:
    lock, task, done = threading.Lock(), Task(), threading.Semaphore(0)

    def locked() -> None:
        with holding(lock):
            done.release()

    with lock:
        crew.submit(locked)
        crew.submit(locked)
        crew.submit(task)
        assert task.begun.wait(PATIENCE)
        assert not done.acquire(blocking=False)
    assert done.acquire(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)
    end(task)


def test_whoever_has_all_but_done_makes_place() -> None:
    crew, leaving, later = Crew("test", 1, 2), Task(), Task()
    left = threading.Event()

    def task() -> None:
        leave()
        left.set()
        leaving()

    crew.submit(task)
    assert left.wait(PATIENCE)
    assert not crew.full
    crew.submit(later)
    assert later.begun.wait(PATIENCE)
    assert crew.full
    end(leaving, later)
    crew.shutdown()


def test_clients_take_turns_and_each_has_its_own_order(crew: Crew) -> None:
    order: list[str] = []
    gates = [Task(), Task()]
    for gate in gates:
        crew.submit(gate, "greedy")
    for name in ("greedy 1", "greedy 2", "greedy 3", "other 1", "other 2"):
        crew.submit(partial(order.append, name), name.split()[0])
    crew.submit(partial(order.append, "third 1"), "third")
    end(gates[0])
    until = time.monotonic() + PATIENCE
    while len(order) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    assert order == ["greedy 1", "other 1", "third 1", "greedy 2", "other 2", "greedy 3"]
    end(gates[1])


def test_who_has_less_takes_the_place_of_who_has_most(crew: Crew) -> None:
    gates = [Task(), Task()]
    for gate in gates:
        crew.submit(gate, "greedy")
    assert crew.displace("other") is None
    first, newest, single = Task(), Task(), Task()
    crew.submit(first, "greedy")
    crew.submit(newest, "greedy")
    crew.submit(single, "other")
    assert crew.displace("greedy") is None
    assert crew.displace("third") is newest
    # What is at work counts too: the greedy one has three left, and the other one.
    assert crew.displace("other") is first
    assert crew.displace("other") is None
    assert crew.waiting == 1
    end(*gates)
    assert single.begun.wait(PATIENCE)
    end(single)
