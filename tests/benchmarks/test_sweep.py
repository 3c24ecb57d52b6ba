"""The sweep tries what can be compared, with real servers, and the manual shows what it found."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.documents import section
from benchmarks.serving.asking import Reference
from benchmarks.serving.cores import idle_share, usable
from benchmarks.serving.counts import Counts, combinations, contender
from benchmarks.serving.findings import table
from benchmarks.serving.project import find
from benchmarks.serving.results import MANUAL, SWEEP
from benchmarks.serving.sweep import main, measure
from benchmarks.serving.visit import running
from tests.benchmarks.runs import Row, run

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
PLAIN = Counts(cores=1, processes=1, slots=2, threads=1)


def test_combinations_are_those_that_can_be_compared() -> None:
    tried = combinations(2)
    assert len(tried) == len(set(tried)) == 18
    assert {counts.slots for counts in tried if counts.processes == 1} == {1, 2, 3, 4}
    assert {counts.slots for counts in tried if counts.processes == 2} == {1, 2}
    assert {counts.threads for counts in tried if counts.cores == 1} == {1}
    assert {counts.threads for counts in tried if counts.cores == 2} == {1, 2}


@pytest.mark.parametrize("cores", [0.5, 1, 1.5])
def test_what_there_is_not_is_not_tried(cores: float) -> None:
    assert {counts.cores for counts in combinations(cores)} == {1}
    assert len(combinations(cores)) == 6


def test_a_combination_is_told_in_words() -> None:
    assert str(Counts(2, 1, 3, 2)) == "2 cores, 1 process, 3 slots, 2 threads"
    assert str(Counts(1, 2, 1, 1)) == "1 core, 2 processes, 1 slot, 1 thread"


def test_a_server_has_what_its_combination_says(colours: Path) -> None:
    found = find(colours)
    reference = Reference.of(found.default, found.asked)
    threads = {}
    for inner in (1, 20):
        with running(contender(replace(PLAIN, threads=inner), found), found.sent, reference) as server:
            master, worker = server.family.members
            assert master.cpu_affinity() == worker.cpu_affinity() == usable(1)
            assert worker.environ()["GOLDFISH_SLOTS"] == "2"
            threads[inner] = worker.num_threads()
    # Of ONNX Runtime; Gunicorn starts its own when they are needed.
    assert threads[20] - threads[1] >= 15


@needs_wrk
def test_servers_are_measured_alone_and_in_pairs(colours: Path) -> None:
    tried = [PLAIN, replace(PLAIN, processes=2)]
    found = measure(find(colours), tried, rounds=1, seconds=1)
    one, two = found["counts"]
    assert [row["processes"] for row in (one, two)] == [1, 2]
    for row in (one, two):
        assert (row["cores"], row["slots"], row["threads"], row["errors"]) == (1, 2, 1, 0)
        assert row["rate"] == row["rates"][0] > 0
        assert 0 <= row["idle"] <= 1
    assert two["load_mb"] > 1.5 * one["load_mb"]
    assert found["photos"]["sent"] == 20
    assert "| 1 | 2 | 2 | 1 |" in table(found)


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_idle_is_a_share_of_what_the_clocks_counted() -> None:
    assert idle_share((100.0, 1000.0), (101.0, 1004.0)) == 0.25


def counted(counts: tuple[int, int, int, int], rate: float, errors: int = 0) -> Row:
    """A combination with round figures: each process takes 100 MB."""
    cores, processes, slots, threads = counts
    figures = {"rate": rate, "p50_ms": 20.0, "p99_ms": 40.0, "errors": errors, "load_mb": 100 * processes}
    return {
        "cores": cores, "processes": processes, "slots": slots, "threads": threads, "idle": 0.07
    } | figures  # fmt: skip


def swept(rows: list[Row]) -> dict[str, Any]:
    """A whole run of the sweep."""
    bundle = {"digest": "abc", "precision": "8 bit"}
    return run([]) | {"clients": 8, "bundle": bundle, "counts": rows}


ROWS = [
    counted((1, 1, 1, 1), 200),
    counted((1, 1, 2, 1), 190),
    counted((1, 2, 1, 1), 150),
    counted((2, 1, 1, 1), 250),
    counted((2, 1, 2, 1), 381),
    counted((2, 1, 3, 1), 400),
    counted((2, 1, 1, 2), 300),
    counted((2, 2, 1, 1), 360),
    counted((2, 2, 2, 2), 700),
]


def test_every_combination_has_a_row() -> None:
    lines = table(swept(ROWS)).splitlines()
    assert "| 2 | 1 | 3 | 1 | 400 | 20, 40 ms | 100 MB | 7 % |" in lines
    assert sum(line.startswith(("| 1 |", "| 2 |")) for line in lines) == len(ROWS)
    assert {line.count("|") for line in lines if line.startswith("|")} == {9}


def test_each_number_of_cores_has_its_sentences() -> None:
    shown = [line for line in table(swept(ROWS)).splitlines() if line.startswith("- ")]
    assert shown == [
        "- On 1 core, one process with one thread in each prediction gives most with 1 slot, and 95 % of "
        "that with 1. Two processes give at best 75 % of it, in 200 % of the memory.",
        "- On 2 cores, one process with one thread in each prediction gives most with 3 slots, and 95 % of "
        "that with 2. Two processes give at best 90 % of it, in 200 % of the memory. Two threads in each "
        "prediction give at best 75 %.",
    ]


def test_a_machine_with_one_core_has_no_other_sentence() -> None:
    shown = table(swept(ROWS[:3]))
    assert "On 1 core" in shown
    assert "On 2 cores" not in shown


def test_errors_and_circumstances_are_told() -> None:
    shown = table(swept([*ROWS, counted((1, 1, 3, 1), 100, errors=1234)]))
    assert "- 1,234 requests failed." in shown
    assert "failed" not in table(swept(ROWS))
    for told in ("commit abc", "A CPU, 2 cores", "3 shuffled rounds of 8 s", "8 clients, 8 bit."):
        assert told in shown


def test_the_manual_shows_what_the_sweep_found() -> None:
    assert section(MANUAL, "sweep") == table(json.loads(SWEEP.read_text(encoding="utf-8")))
