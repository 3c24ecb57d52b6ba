"""The sweep measures comparable combinations with real servers, and the manual shows its results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.documents import PERFORMANCE, section
from benchmarks.serving.measurement import running
from benchmarks.serving.project import find_project
from benchmarks.serving.statistics import Row
from benchmarks.serving.sweep import RESULTS, Combination, combinations, server, sweep
from benchmarks.serving.sweep_table import table
from benchmarks.serving.verification import Reference
from tests.benchmarks.example_results import run

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
PLAIN = Combination(cores=1, processes=1, slots=2, threads=1)


def test_combinations_are_comparable() -> None:
    tried = combinations(2)
    assert len(tried) == len(set(tried)) == 18
    assert {counts.slots for counts in tried if counts.processes == 1} == {1, 2, 3, 4}
    assert {counts.slots for counts in tried if counts.processes == 2} == {1, 2}
    assert {counts.threads for counts in tried if counts.cores == 1} == {1}
    assert {counts.threads for counts in tried if counts.cores == 2} == {1, 2}


@pytest.mark.parametrize("cores", [0.5, 1, 1.5])
def test_combinations_need_no_more_cores_than_there_are(cores: float) -> None:
    assert {counts.cores for counts in combinations(cores)} == {1}
    assert len(combinations(cores)) == 6


def test_a_server_has_the_slots_threads_and_cores_of_its_combination(colours: Path) -> None:
    project = find_project(colours)
    reference = Reference.predict(project.default, project.accuracy_photos)
    threads = {}
    for inner in (1, 20):
        contender = server(replace(PLAIN, threads=inner), project)
        with running(contender, project.load_photos, reference) as started:
            master, worker = started.tree.processes
            assert master.cpu_affinity() == worker.cpu_affinity() == PLAIN.core_numbers
            assert worker.environ()["GOLDFISH_SLOTS"] == "2"
            threads[inner] = worker.num_threads()
    # ONNX Runtime starts its threads with the model, Gunicorn its own with the first requests.
    assert threads[20] - threads[1] >= 15


@needs_wrk
def test_servers_are_measured_alone_and_in_pairs(colours: Path) -> None:
    tried = [PLAIN, replace(PLAIN, processes=2)]
    results = sweep(find_project(colours), tried, rounds=1, seconds=1)
    one, two = results["counts"]
    assert [row["processes"] for row in (one, two)] == [1, 2]
    for row in (one, two):
        assert (row["cores"], row["slots"], row["threads"], row["errors"]) == (1, 2, 1, 0)
        assert row["rate"] == row["rates"][0] > 0
        assert 0 <= row["idle"] <= 1
    assert two["load_mb"] > 1.5 * one["load_mb"]
    assert results["photos"]["sent"] == 20
    assert "| 1 | 2 | 2 | 1 |" in table(results)


def combination_row(counts: tuple[int, int, int, int], rate: float, errors: int = 0) -> Row:
    """A combination with round figures: each process takes 100 MB."""
    cores, processes, slots, threads = counts
    figures = {"rate": rate, "p50_ms": 20.0, "p99_ms": 40.0, "errors": errors, "load_mb": 100 * processes}
    return {
        "cores": cores, "processes": processes, "slots": slots, "threads": threads, "idle": 0.07
    } | figures  # fmt: skip


def sweep_results(rows: list[Row]) -> dict[str, Any]:
    """A whole run of the sweep."""
    bundle = {"digest": "abc", "precision": "8 bit"}
    return run([]) | {"clients": 8, "bundle": bundle, "counts": rows}


ROWS = [
    combination_row((1, 1, 1, 1), 200),
    combination_row((1, 1, 2, 1), 190),
    combination_row((1, 2, 1, 1), 150),
    combination_row((2, 1, 1, 1), 250),
    combination_row((2, 1, 2, 1), 381),
    combination_row((2, 1, 3, 1), 400),
    combination_row((2, 1, 1, 2), 300),
    combination_row((2, 2, 1, 1), 360),
    combination_row((2, 2, 2, 2), 700),
]


def test_every_combination_has_a_row() -> None:
    lines = table(sweep_results(ROWS)).splitlines()
    assert "| 2 | 1 | 3 | 1 | 400 | 20, 40 ms | 100 MB | 7 % |" in lines
    assert sum(line.startswith(("| 1 |", "| 2 |")) for line in lines) == len(ROWS)
    assert {line.count("|") for line in lines if line.startswith("|")} == {9}


def test_each_number_of_cores_has_a_conclusion() -> None:
    shown = [line for line in table(sweep_results(ROWS)).splitlines() if line.startswith("- ")]
    assert shown == [
        "- On 1 core, one process with one thread in each prediction gives most with 1 slot, and 95 % of "
        "that with 1. Two processes give at best 75 % of it, in 200 % of the memory.",
        "- On 2 cores, one process with one thread in each prediction gives most with 3 slots, and 95 % of "
        "that with 2. Two processes give at best 90 % of it, in 200 % of the memory. Two threads in each "
        "prediction give at best 75 %.",
    ]


def test_a_machine_with_one_core_has_no_other_conclusion() -> None:
    shown = table(sweep_results(ROWS[:3]))
    assert "On 1 core" in shown
    assert "On 2 cores" not in shown


def test_errors_and_conditions_are_shown() -> None:
    shown = table(sweep_results([*ROWS, combination_row((1, 1, 3, 1), 100, errors=1234)]))
    assert "- 1,234 requests failed." in shown
    assert "failed" not in table(sweep_results(ROWS))
    for part in ("commit abc", "A CPU, 2 cores", "3 shuffled rounds of 8 s", "8 clients, 8 bit."):
        assert part in shown


def test_the_manual_shows_the_committed_results() -> None:
    assert section(PERFORMANCE, "sweep") == table(json.loads(RESULTS.read_text(encoding="utf-8")))
