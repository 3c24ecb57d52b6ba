"""Load generator and contenders run on different cores, where there are enough."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.serving import contenders
from benchmarks.serving.contenders import Contender
from benchmarks.serving.cores import CoreSplit, pinned, split_cores
from benchmarks.serving.project import FLOAT
from benchmarks.serving.wire_formats import first_class, raw


@pytest.mark.parametrize(
    ("usable", "count", "split"),
    [
        ({0, 1}, 2, CoreSplit()),
        ({0, 1, 2}, 3, CoreSplit()),
        ({0, 1, 2, 3}, 4, CoreSplit((3,), (0, 1, 2))),
        ({9, 4, 6, 2, 7}, 5, CoreSplit((9,), (2, 4, 6, 7))),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 4.5, CoreSplit((3,), (0, 1, 2))),
        ({0, 1, 2, 3}, 3.9, CoreSplit()),
    ],
    ids=["two", "three", "four", "five of more", "a quota of four", "a quota of less"],
)
def test_four_cores_are_split(usable: set[int], count: float, split: CoreSplit) -> None:
    assert split_cores(usable, count) == split


def test_a_pinned_command_runs_on_its_cores_alone() -> None:
    core = max(os.sched_getaffinity(0))
    command = pinned([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], [core])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{{{core}}}\n"
    assert pinned(["wrk"], ()) == ["wrk"]


def test_a_contender_runs_on_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = max(os.sched_getaffinity(0))
    monkeypatch.setattr(contenders, "current_split", lambda: CoreSplit((0,), (core,)))
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    contender = Contender("sleeper", "peer", FLOAT, "", "/", raw(first_class), command)
    with contender.start(0, tmp_path) as tree:
        # It sets its own affinity first, then becomes the contender.
        end = time.monotonic() + 60
        while psutil.Process(tree.root.pid).name() == "taskset" and time.monotonic() < end:
            time.sleep(0.01)
        assert psutil.Process(tree.root.pid).cpu_affinity() == [core]
