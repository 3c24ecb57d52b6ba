"""The sequential test keeps its level however often it is read, and finds real differences soon."""

import math

import pytest

from benchmarks.documents import TRIALS, section
from benchmarks.trials import (
    Direction,
    agreement_table,
    alarm_table,
    passing_counts,
    simulate,
    stopping_times,
)
from serving.trial.sequential_test import (
    OFFSETS,
    Verdict,
    decide,
    evidence_above,
    evidence_below,
)

FLOOR, LEVEL = 0.95, 0.001
RUNS, ANSWERS = 1000, 5000


@pytest.mark.parametrize("floor", [1e-6, 0.05, 0.5, 0.95, 1 - 1e-6])
@pytest.mark.parametrize("counts", [(0, 0), (3, 0), (0, 3), (940, 60), (10**9, 10**7)])
def test_evidence_does_not_grow_on_average_if_the_share_is_the_floor(
    floor: float, counts: tuple[int, int]
) -> None:
    successes, failures = counts
    for evidence, shares in ((evidence_below, (floor, 1.0)), (evidence_above, (floor, 0.0))):
        now = evidence(successes, failures, floor)
        growth = [
            math.exp(evidence(successes + 1, failures, floor) - now),
            math.exp(evidence(successes, failures + 1, floor) - now),
        ]
        at_floor, beyond = (share * growth[0] + (1 - share) * growth[1] for share in shares)
        # The rounding of the two logarithms, which grows with the counts.
        assert at_floor == pytest.approx(1, abs=1e-5)
        assert beyond <= 1 + 1e-5


@pytest.mark.parametrize("counts", [(0, 0), (7, 3), (900, 100)])
def test_one_more_failure_is_evidence_against_a_share_and_one_more_success_is_not(
    counts: tuple[int, int],
) -> None:
    successes, failures = counts
    now = evidence_below(successes, failures, FLOOR)
    assert (
        evidence_below(successes + 1, failures, FLOOR) < now < evidence_below(successes, failures + 1, FLOOR)
    )


def test_evidence_starts_at_nothing_and_its_mixture_loses_little_to_the_best_alternative() -> None:
    assert evidence_below(0, 0, FLOOR) == pytest.approx(0)
    best = max(evidence_below(80, 20, FLOOR, offsets=[offset]) for offset in OFFSETS)
    assert best - math.log(len(OFFSETS)) <= evidence_below(80, 20, FLOOR) <= best


def test_above_is_the_mirror_image_of_below() -> None:
    assert evidence_above(30, 70, 0.25) == evidence_below(70, 30, 0.75)


def test_counts_of_any_size_can_be_evaluated() -> None:
    assert evidence_below(10**15, 0, FLOOR) < 0 < evidence_below(0, 10**15, FLOOR)


@pytest.mark.parametrize("floor", [0.0, 1.0, -1.0, 2.0, math.nan, math.inf, 1e-300])
def test_a_floor_that_cannot_be_tested_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="cannot be tested"):
        evidence_below(1, 1, floor)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        decide(-1, 1, FLOOR, LEVEL)


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [
        (0, 0, Verdict.UNDECIDED),
        (0, 2, Verdict.UNDECIDED),
        (0, 3, Verdict.BELOW),
        (153, 0, Verdict.UNDECIDED),
        (154, 0, Verdict.ABOVE),
        (950_000, 50_000, Verdict.UNDECIDED),
    ],
)
def test_verdicts(successes: int, failures: int, expected: Verdict) -> None:
    assert decide(successes, failures, FLOOR, LEVEL) is expected


@pytest.mark.parametrize("level", [0.001, 0.05])
@pytest.mark.parametrize(
    ("direction", "share"), [("below", 0.95), ("below", 0.97), ("below", 1.0), ("above", 0.95)]
)
def test_false_alarms_over_five_thousand_looks_stay_below_the_level(
    direction: Direction, share: float, level: float
) -> None:
    passing = passing_counts(direction, FLOOR, level, ANSWERS)
    probability = float(stopping_times(direction, share, passing).sum())
    assert probability <= level
    # The number of simulated alarms differs from what is expected by chance: four standard deviations.
    alarms = int((simulate(direction, share, passing, RUNS) > 0).sum())
    assert abs(alarms - RUNS * probability) <= 4 * math.sqrt(RUNS * probability) + 1


def test_the_documented_numbers_are_the_computed_ones() -> None:
    assert section(TRIALS, "agreement") == agreement_table()
    assert section(TRIALS, "alarms") == alarm_table()
    # The other mixtures take a minute.
    chosen = section(TRIALS, "mixtures").splitlines()[2]
    for line in agreement_table().splitlines()[2:]:
        share, _, median, most = (cell.strip() for cell in line.strip("|").split("|"))
        assert share == "97 %" or f"| {median} / {most} |" in chosen
