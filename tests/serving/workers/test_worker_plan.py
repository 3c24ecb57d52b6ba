"""How many workers are chosen, and how they divide the slots."""

import math

import pytest

from serving.workers.worker_plan import PYTHON_SECONDS, WorkerPlan, choose_workers
from serving.workers.worker_table import WorkerLoad, WorkerTable

MB = 2**20


@pytest.mark.parametrize(
    ("cores", "image_seconds", "expected"),
    [
        # In no time for the image all of a request is Python: a process for each core.
        (8, 0.0, 8),
        (8, PYTHON_SECONDS, 4),
        (2, 7 * PYTHON_SECONDS, 1),
        (16, 7 * PYTHON_SECONDS, 2),
        (1, 0.0, 1),
    ],
)
def test_all_cores_are_kept_busy(cores: int, image_seconds: float, expected: int) -> None:
    assert choose_workers(cores, image_seconds, 50 * MB, math.inf) == expected


def test_a_small_container_gets_few() -> None:
    assert choose_workers(16, 0.0, 50 * MB, 512 * MB) == 5
    assert choose_workers(16, 0.0, 50 * MB, 64 * MB) == 1


@pytest.mark.parametrize(
    ("slots", "workers", "shares"), [(2, 2, [1, 1]), (5, 2, [3, 2]), (8, 3, [3, 3, 2]), (4, 1, [4])]
)
def test_slots_are_divided(slots: int, workers: int, shares: list[int]) -> None:
    plan = WorkerPlan(slots, workers, WorkerTable())
    assert [plan.share(worker) for worker in range(workers)] == shares
    # One that replaces another has a number of its own until that has ended.
    assert plan.share(workers) >= 1


def test_there_are_no_more_workers_than_slots() -> None:
    table = WorkerTable()
    WorkerPlan(2, 8, table)
    assert table.wanted == 2


def test_workers_see_each_other() -> None:
    table = WorkerTable()
    assert table.free_number() == 0
    for worker, pid in ((0, 100), (1, 101)):
        table.enter(worker, pid)
    table.publish(1, WorkerLoad(busy=1, waiting=3, connections=5))
    assert table.others(0) == [WorkerLoad(busy=1, waiting=3, connections=5)]
    # It has not said anything yet.
    assert table.others(1) == []
    table.leave(101)
    assert (table.others(0), table.live(), table.pids(), table.free_number()) == ([], [0], [100], 1)
