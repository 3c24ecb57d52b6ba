"""Counts can be added up in any order, and survive as a flat row of numbers."""

import numpy as np
import pytest

from serving.trial.comparison import AnswerPair
from serving.trial.counts import COUNT_NUMBERS, DIFFERENCE_BOUNDS, MAX_LABELS, Counts, LabelCounts

AGREED = AnswerPair(0, "red", "red", 0.015, False, 0.010, 0.012)
DISAGREED = AnswerPair(2, "blue", "red", 0.6, True, 0.010, 0.020)
FAILED = AnswerPair(2, "blue", None, 0.0, False, 0.0, 0.0)


def test_pairs_are_added_up() -> None:
    total = Counts.of(AGREED) + Counts.of(DISAGREED) + Counts.of(FAILED) + Counts(dropped=3)
    assert (total.compared, total.agreed, total.failed, total.slower, total.dropped) == (3, 1, 1, 1, 3)
    assert total.timed == 2
    assert total.mean_difference == pytest.approx(0.3075)
    assert (total.active_seconds, total.candidate_seconds) == pytest.approx((0.020, 0.032))
    assert total.differences == (0, 1, 0, 0, 0, 0, 1)
    assert Counts.of(FAILED) + Counts.of(AGREED) == Counts.of(AGREED) + Counts.of(FAILED)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(0.0, 0), (0.01, 0), (0.0100001, 1), (0.5, 5), (0.51, 6), (1.0, 6), (1.0005, 6)],
)
def test_each_difference_is_in_one_bin(difference: float, expected: int) -> None:
    bins = Counts.of(AnswerPair(0, "red", "red", difference, False, 1.0, 1.0)).differences
    assert bins == tuple(int(number == expected) for number in range(len(DIFFERENCE_BOUNDS)))


def test_numbers_are_the_counts() -> None:
    counts = Counts.of(AGREED) + Counts.of(DISAGREED) + Counts(dropped=2**52)
    shared = np.zeros(COUNT_NUMBERS)
    shared += counts.to_numbers()
    assert Counts.from_numbers(shared.tolist()) == counts
    assert Counts.from_numbers([0.0] * COUNT_NUMBERS) == Counts()
    with pytest.raises(ValueError, match="are no counts"):
        Counts.from_numbers([0.0])


def test_without_a_pair_there_is_no_mean() -> None:
    assert Counts().mean_difference is None
    assert Counts.of(FAILED).mean_difference is None


def test_disagreements_are_counted_by_the_active_label() -> None:
    total = LabelCounts.empty(3)
    assert total is not None
    for pair in (AGREED, DISAGREED, FAILED):
        total += LabelCounts.of(pair, 3)
    assert (total.compared, total.disagreed) == ((1, 0, 2), (0, 0, 2))
    assert LabelCounts.from_numbers(total.to_numbers()) == total


def test_many_labels_are_not_counted_one_by_one() -> None:
    assert LabelCounts.empty(MAX_LABELS) is not None
    assert LabelCounts.empty(MAX_LABELS + 1) is None


def test_counts_of_other_labels_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="is longer than"):
        LabelCounts.of(AGREED, 3) + LabelCounts.of(AGREED, 4)
    with pytest.raises(ValueError, match="two each"):
        LabelCounts.from_numbers([1.0])
