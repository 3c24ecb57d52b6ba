"""What others take of the cores is told from this benchmark's own work, and disturbed work is repeated."""

import itertools
import os
import subprocess
import sys

import pytest

from benchmarks.documents import ROOT
from benchmarks.errors import Disturbed
from benchmarks.interference import (
    TICKS_PER_SECOND,
    TOLERATED,
    CoreTicks,
    Interference,
    ProcessTicks,
    Watch,
    check_undisturbed,
    own_ticks,
    parse_core_ticks,
    parse_process,
    tree_ticks,
    undisturbed,
)
from benchmarks.serving.cores import pinned

STAT = """\
cpu  600 60 600 6000 600 60 60 60 0 0
cpu0 100 10 100 1000 100 1 2 3 50 5
cpu1 200 20 200 2000 200 4 5 6 0 0
cpu11 300 30 300 3000 300 7 8 9 0 0
intr 1 2 3
"""
BUSY = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"


def test_the_times_of_the_given_cores_are_summed_up() -> None:
    assert parse_core_ticks(STAT, {0, 1}) == CoreTicks(busy=213 + 429, stolen=9)
    assert parse_core_ticks(STAT, {1}) == CoreTicks(busy=429, stolen=6)


def test_a_name_with_brackets_does_not_move_the_fields() -> None:
    line = "77 (a ) S 1 (b) S 42 1 1 0 -1 0 0 0 0 0 1 20 300 4000 20 0 1 0 5 6 7"
    assert parse_process(line) == ProcessTicks(parent=42, ticks=4321)


def test_the_time_of_a_tree_is_that_of_all_descendants() -> None:
    processes = {
        1: ProcessTicks(0, 1),
        2: ProcessTicks(1, 10),
        3: ProcessTicks(2, 100),
        4: ProcessTicks(1, 1000),
        5: ProcessTicks(4, 10_000),
    }
    assert [tree_ticks(processes, root) for root in (1, 2, 3)] == [11_111, 110, 100]


def test_a_child_that_ended_is_still_counted() -> None:
    before = own_ticks()
    # A child of a child, which waits for it.
    grandchild = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY.format(seconds=0.3)!r}])"
    )
    subprocess.run([sys.executable, "-c", grandchild], check=True, timeout=60)
    assert own_ticks() - before >= 0.3 * TICKS_PER_SECOND


def test_foreign_work_is_noticed() -> None:
    """The busy process is a sibling of the one that watches, on the same core."""
    core = [min(os.sched_getaffinity(0))]
    busy = [sys.executable, "-c", "while True: pass"]
    watch = (
        "import time; from benchmarks.interference import Watch; watch = Watch(); time.sleep(0.5); "
        "print(watch.interference().disturbing)"
    )
    with subprocess.Popen(pinned(busy, core)) as sibling:
        try:
            command = pinned([sys.executable, "-c", watch], core)
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
        finally:
            sibling.kill()
    assert done.stdout == "True\n"


def test_time_that_is_lost_when_processes_end_does_not_count_as_that_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for Ray's actors, so their time is in no process when they have ended."""
    own, busy = iter([0, 190, 20]), iter([0, 200, 220])
    monkeypatch.setattr("benchmarks.interference.own_ticks", lambda: next(own))
    monkeypatch.setattr("benchmarks.interference.core_ticks", lambda _: CoreTicks(next(busy), 0))
    watch = Watch()
    before = watch.interference()
    assert before.foreign > 0
    assert watch.interference() == before


class Planned(Watch):
    """A watch for which it is given what others take; the first watch takes the first share."""

    def __init__(self, shares: list[float]) -> None:
        self.share = shares.pop(0)

    def interference(self) -> Interference:
        return Interference(foreign=self.share)


@pytest.mark.parametrize(
    ("shares", "result"),
    [
        ([0.0, 0.5, 0.5], (0, 0.0)),
        ([0.5, TOLERATED, 0.0], (1, TOLERATED)),
        ([0.3, 0.2, 0.4, 0.0], (1, 0.2)),
    ],
    ids=["quiet at once", "quiet the second time", "never quiet"],
)
def test_disturbed_work_is_repeated_up_to_a_bound(
    shares: list[float], result: tuple[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.interference.TRIES", 3)
    attempts = itertools.count()
    kept, seen = undisturbed(lambda: next(attempts), lambda: Planned(shares))
    assert (kept, seen.total) == result


def test_disturbed_results_are_shown_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"quiet": [0.0, TOLERATED], "none": [], "noisy": [0.0, 0.123, 0.06]}
    with pytest.raises(Disturbed, match=r"nothing was written: .* more than 5% .* measured: noisy \(12%\)\."):
        check_undisturbed(shares, "the table")
    assert capsys.readouterr().out == "the table\n"
    check_undisturbed({"quiet": [0.0, TOLERATED]}, "the table")
    assert capsys.readouterr().out == ""
