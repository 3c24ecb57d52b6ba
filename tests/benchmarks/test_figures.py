"""Medians, ratios and targets, on figures whose answers can be told by hand."""

import pytest

from benchmarks.serving.asking import Answers
from benchmarks.serving.contender import PEER
from benchmarks.serving.figures import Target, at_least, at_most, measured, rate, share, summary, targets
from benchmarks.serving.load import Load
from benchmarks.serving.project import FLOAT
from benchmarks.serving.visit import Visit
from tests.benchmarks.runs import everybody, failed, row


def test_a_summary_is_the_median_of_the_rounds_and_the_sum_of_errors() -> None:
    answers = Answers(200, 199, 180, 190)
    visits = [
        Visit(1.0, 100, 150, {8: Load(300, 20, 40, 1)}, answers),
        Visit(9.0, 120, 130, {8: Load(100, 60, 90, 0)}),
        Visit(2.0, 110, 140, {8: Load(310, 19, 41, 2)}),
    ]
    seen = summary(visits)
    assert (seen["start_seconds"], seen["idle_mb"], seen["load_mb"]) == (2.0, 110, 140)
    assert seen["clients"]["8"] == {
        "rate": 300, "p50_ms": 20, "p99_ms": 41, "errors": 3, "rates": [300, 100, 310]
    }  # fmt: skip
    assert seen["answers"] == {"asked": 200, "answered": 199, "right": 180, "agree": 190}


def test_what_failed_is_compared_with_nobody() -> None:
    assert [found["name"] for found in measured(everybody(), PEER)] == ["Swift", "Slow"]
    assert [rate(found) for found in measured(everybody(), PEER, FLOAT)] == [300, 200]


def test_every_target_is_told_from_the_rows() -> None:
    found = [(target.what, target.measured, target.verdict) for target in targets(everybody())]
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
    ("rows", "told"),
    [
        ([], 0),
        ([failed("Goldfish, float32", "it ended") | {"kind": "ours"}], 0),
        ([row("Goldfish, float32", "ours", FLOAT, 300, 150)], 1),
        ([row("Goldfish, float32", "ours", FLOAT, 300, 150), failed("Broken", "it ended")], 1),
    ],
    ids=["nobody", "ours failed", "ours alone", "no other"],
)
def test_no_target_is_told_of_what_was_not_measured(rows: list[dict[str, object]], told: int) -> None:
    assert len(targets(rows)) == told


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (at_least("rate", 30, 30), "met"),
        (at_least("rate", 30, 24), "missed by 20 %"),
        (at_most("start", 1.5, 1.5, "s"), "met"),
        (at_most("start", 1.5, 3.0, "s"), "missed by 100 %"),
        (share("memory", 20, 1 / 20), "met"),
        (share("memory", 20, 1 / 10), "missed by 100 %"),
    ],
)
def test_a_target_is_met_or_missed_by_so_much(target: Target, verdict: str) -> None:
    assert target.verdict == verdict
