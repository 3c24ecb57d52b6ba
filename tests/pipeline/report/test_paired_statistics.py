"""Paired statistics are correct: compared with SciPy, values computed by hand, and simulated models."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.evaluation.metrics import one_sided_mcnemar_p_value
from pipeline.report.differences import accuracy_change, accuracy_change_interval, mcnemar_p_value


@pytest.mark.parametrize(("lost", "gained"), [(1, 0), (0, 6), (2, 3), (5, 1), (10, 12), (30, 10), (600, 500)])
def test_the_test_is_mcnemars(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue
    assert mcnemar_p_value(lost, gained) == pytest.approx(expected)
    assert mcnemar_p_value(gained, lost) == mcnemar_p_value(lost, gained)
    # The gate tests for losses only: one side of the same distribution.
    if lost > gained:
        assert mcnemar_p_value(lost, gained) == pytest.approx(
            min(1, 2 * one_sided_mcnemar_p_value(lost, gained))
        )


@pytest.mark.parametrize("count", [0, 1, 7])
def test_equal_counts_are_not_significant(count: int) -> None:
    assert mcnemar_p_value(count, count) == 1


def test_thousands_of_changes_are_computed_fast() -> None:
    assert mcnemar_p_value(30_000, 30_200) == pytest.approx(
        math.erfc((200 - 1) / math.sqrt(2 * 60_200)), rel=0.01
    )


def test_the_interval_by_hand() -> None:
    # With one more in each count: 8 and 2 of 23, so -6/23, and its variance (10/23 - 36/529) / 23.
    spread = 1.959964 * math.sqrt((10 / 23 - 36 / 529) / 23)
    assert accuracy_change_interval(7, 1, 21) == pytest.approx((-6 / 23 - spread, -6 / 23 + spread))
    assert [round(bound, 3) for bound in accuracy_change_interval(7, 1, 21)] == [-0.508, -0.013]


@pytest.mark.parametrize(("lost", "gained", "images"), [(0, 0, 5), (3, 3, 40), (1, 8, 330), (50, 0, 50)])
def test_the_interval_contains_the_difference_and_is_symmetric(lost: int, gained: int, images: int) -> None:
    low, high = accuracy_change_interval(lost, gained, images)
    assert -1 <= low <= accuracy_change(lost, gained, images) <= high <= 1
    assert accuracy_change_interval(gained, lost, images) == pytest.approx((-high, -low))


def test_without_images_the_interval_is_everything() -> None:
    assert accuracy_change_interval(0, 0, 0) == (-1, 1)


def test_with_many_images_the_interval_is_narrow() -> None:
    low, high = accuracy_change_interval(20_000, 30_000, 1_000_000)
    assert (low + high) / 2 == pytest.approx(0.01, abs=1e-5)
    assert high - low < 0.001


def test_nineteen_of_twenty_intervals_contain_the_true_difference() -> None:
    # 200 images each, with true shares of 6 % lost and 9 % gained.
    draws = np.random.default_rng(3).multinomial(200, [0.06, 0.09, 0.85], size=2000)
    bounds = [accuracy_change_interval(int(lost), int(gained), 200) for lost, gained, _ in draws]
    assert np.mean([low <= 0.03 <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.015)
