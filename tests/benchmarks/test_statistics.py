"""Medians, ratios and targets, on figures that can be computed by hand."""

import pytest

from benchmarks.interference import Interference
from benchmarks.serving.contenders import PEER
from benchmarks.serving.load_generator import Load
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.project import FLOAT
from benchmarks.serving.statistics import (
    compare_with_targets,
    measured_rows,
    rate,
    run_interference,
    summarise,
)
from benchmarks.serving.verification import Accuracy
from benchmarks.targets import Target, at_least, at_most, fraction
from tests.benchmarks.example_results import all_rows, failed, load_row, row, run


def test_a_summary_is_the_median_of_the_rounds_and_the_sum_of_errors() -> None:
    accuracy = Accuracy(200, 199, 180, 190)
    rounds = [
        Measurement(
            1.0,
            100,
            150,
            {8: Load(300, 20, 40, 1, Interference(0.02, 0.01))},
            accuracy,
            Interference(0.25, 0.125),
        ),
        Measurement(9.0, 120, 130, {8: Load(100, 60, 90, 0)}),
        Measurement(2.0, 110, 140, {8: Load(310, 19, 41, 2)}),
    ]
    summary = summarise(rounds)
    assert (summary["start_seconds"], summary["idle_mb"], summary["load_mb"]) == (2.0, 110, 140)
    assert summary["clients"]["8"] == {
        "rate": 300, "p50_ms": 20, "p99_ms": 41, "errors": 3, "rates": [300, 100, 310],
        "foreign": [0.02, 0, 0], "stolen": [0.01, 0, 0],
        "deviations": {"rate": 200, "p50_ms": 40, "p99_ms": 49},
    }  # fmt: skip
    assert summary["start"] == {"foreign": [0.25, 0, 0], "stolen": [0.125, 0, 0]}
    assert summary["deviations"] == {"start_seconds": 7.0, "idle_mb": 10, "load_mb": 10}
    assert summary["answers"] == {"asked": 200, "answered": 199, "right": 180, "agree": 190}


def test_one_round_has_no_deviation() -> None:
    summary = summarise([Measurement(1.0, 100, 150, {8: Load(300, 20, 40, 1)})])
    assert "deviations" not in summary
    assert "deviations" not in summary["clients"]["8"]


def test_what_others_took_is_known_for_each_part_of_a_run() -> None:
    noisy = load_row(100) | {"foreign": [0.25, 0.0], "stolen": [0.5, 0.0]}
    swift = row("Swift", PEER, FLOAT, 300, 320)
    swift["clients"]["64"] = noisy
    swift["start"] = {"foreign": [0.0, 0.125], "stolen": [0.0, 0.0]}
    results = run([swift, row("Slow", PEER, FLOAT, 1, 1), failed("Broken", "it ended")])
    results["growth"] = {
        "clients": [noisy | {"clients": 16, "queue": 32}],
        "photos": [noisy | {"width": 200, "height": 150}],
        "loops": [noisy | {"threads": 2, "inner": 1}],
    }
    assert run_interference(results) == {
        "Swift": [0.0, 0.125, 0.75, 0.0],
        "Slow": [],
        "Broken": [],
        "16 clients with a queue of 32": [0.75, 0.0],
        "photos of 200 x 150": [0.75, 0.0],
        "a loop of 2 threads, 1 each": [0.75, 0.0],
    }


def test_failed_contenders_are_not_compared() -> None:
    assert [found["name"] for found in measured_rows(all_rows(), PEER)] == ["Swift", "Slow"]
    assert [rate(found) for found in measured_rows(all_rows(), PEER, FLOAT)] == [300, 200]


def test_all_targets_are_computed_from_the_rows() -> None:
    found = [(target.what, target.measured, target.verdict) for target in compare_with_targets(all_rows())]
    assert found == [
        ("requests/s against the tutorial's app", "45.00 x", "met"),
        ("memory under load against the same", "1/18.0", "missed by 11 %"),
        ("requests/s of Goldfish, 8 bit against the limit of the same bundle", "0.90 x", "met"),
        ("requests/s of Goldfish, float32 against the limit of the same bundle", "0.82 x", "missed by 3 %"),
        ("Goldfish, 8 bit against the best of the others, Swift", "1.50 x", "met"),
        ("Goldfish, float32 against Swift", "1.10 x", "met"),
        ("memory under load of the same two", "1/2.1", "met"),
        ("from start to the first right answer", "1.0 s", "met"),
        ("top-1 of 200 photos lost by 8 bit", "0.0 points", "met"),
    ]


@pytest.mark.parametrize(
    ("rows", "targets"),
    [
        ([], 0),
        ([failed("Goldfish, float32", "it ended") | {"kind": "ours"}], 0),
        ([row("Goldfish, float32", "ours", FLOAT, 300, 150)], 1),
        ([row("Goldfish, float32", "ours", FLOAT, 300, 150), failed("Broken", "it ended")], 1),
    ],
    ids=["no rows", "ours failed", "ours alone", "the peer failed"],
)
def test_targets_need_measured_rows(rows: list[dict[str, object]], targets: int) -> None:
    assert len(compare_with_targets(rows)) == targets


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (at_least("rate", 30, 30), "met"),
        (at_least("rate", 30, 24), "missed by 20 %"),
        (at_most("start", 1.5, 1.5, "s"), "met"),
        (at_most("start", 1.5, 3.0, "s"), "missed by 100 %"),
        (fraction("memory", 20, 1 / 20), "met"),
        (fraction("memory", 20, 1 / 10), "missed by 100 %"),
    ],
)
def test_a_verdict_says_by_how_much_a_target_is_missed(target: Target, verdict: str) -> None:
    assert target.verdict == verdict
