"""AUROC: scikit-learn's, and an interval that covers as often as it says."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.auroc import auroc, auroc_interval


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_area_is_that_of_scikit_learn(decimals: int) -> None:
    """With few decimals many values are equal."""
    random = np.random.default_rng(decimals)
    familiar, foreign = random.normal(1, 1, 80).round(decimals), random.normal(0, 1, 50).round(decimals)
    truth = np.repeat([1, 0], [80, 50])
    expected = roc_auc_score(truth, np.concatenate([familiar, foreign]))
    assert auroc(familiar, foreign) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("lower", "higher"), [([1.0, 2.0], [3.0, 4.0]), ([1.0], [2.0])])
def test_areas_by_hand(lower: list[float], higher: list[float]) -> None:
    low, high = np.array(lower), np.array(higher)
    assert (auroc(high, low), auroc(low, high), auroc(low, low)) == (1, 0, 0.5)


@pytest.mark.parametrize("true", [0.8, 0.95])
def test_the_interval_covers_as_often_as_it_says(true: float) -> None:
    random, distance, covered = np.random.default_rng(1), norm.ppf(true) * 2**0.5, 0
    for _ in range(300):
        area = auroc(random.normal(distance, 1, 100), random.normal(0, 1, 60))
        low, high = auroc_interval(area, 100, 60)
        assert 0 <= low < area < high <= 1
        covered += low <= true <= high
    assert 0.92 < covered / 300 <= 1


def test_an_area_of_1_is_uncertain_too() -> None:
    low, high = auroc_interval(1.0, 330, 100)
    assert 0.9 < low < 0.995
    assert high == 1
    few, _ = auroc_interval(1.0, 330, 5)
    assert few < low
    assert auroc_interval(0.0, 330, 100) == pytest.approx((0, 1 - low), abs=1e-6)
