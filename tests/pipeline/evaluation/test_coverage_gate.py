"""The gate refuses label sets that have the right class significantly less often than they promise."""

import math
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation import gate
from tests.pipeline.evaluation.test_gate import SETTINGS

FITTED, TESTED = 99, 1000


def metrics(covered: dict[float, int], fitted: int = FITTED) -> dict[str, Any]:
    """The figures of sets whose threshold the right class of so many of 1000 test images passes."""
    sets = [{"level": level, "above_threshold": round(hits / TESTED, 5)} for level, hits in covered.items()]
    return {"images": TESTED, "confidence": {"images": fitted, "label_sets": sets}}


def refusal(covered: dict[float, int], fitted: int = FITTED) -> str | None:
    (check,) = gate.check_coverage(metrics(covered, fitted), SETTINGS)
    assert check.name == "coverage"
    return None if check.passed else check.reason


def test_coverage_within_the_band_passes() -> None:
    # With 99 validation images the coverage of 90 % sets varies by 3 points from sample to sample.
    for hits in (1000, 920, 900, 870, 850):
        assert refusal({0.9: hits}) is None, hits


def test_coverage_below_the_band_is_refused() -> None:
    for hits in (840, 800, 500, 0):
        reason = refusal({0.9: hits})
        assert reason is not None, hits
        assert f"the right class of {hits / TESTED:.1%} of the test images is above" in reason


def test_each_set_is_named() -> None:
    assert refusal({0.9: 500, 0.95: 500}) is not None
    reason = refusal({0.9: 900, 0.95: 800})
    assert reason is not None
    assert "95%" in reason
    assert "90%" not in reason


def test_more_validation_images_narrow_the_band() -> None:
    assert refusal({0.9: 850}, fitted=99) is None
    assert refusal({0.9: 850}, fitted=999) is not None


def test_sets_of_images_of_the_same_kind_are_rarely_refused() -> None:
    """In at most 5 % of all samples, the level of significance, by simulated scores."""
    random, rank, refused, runs = np.random.default_rng(1), math.ceil(100 * 0.9), 0, 2000
    for _ in range(runs):
        quantile = np.sort(random.random(FITTED))[rank - 1]
        refused += refusal({0.9: int((random.random(TESTED) <= quantile).sum())}) is not None
    assert 0.02 < refused / runs < 0.065


def test_without_sets_nothing_is_promised() -> None:
    (check,) = gate.check_coverage(metrics({}, fitted=8), SETTINGS)
    assert check.passed
    assert check.reason == "label sets keep what they promise: none"


def test_a_bundle_without_confidence_is_not_checked() -> None:
    assert gate.check_coverage({"images": 5}, SETTINGS) == []


@pytest.mark.parametrize("significance", [0.01, 0.2])
def test_the_level_of_significance_counts(significance: float) -> None:
    settings = SETTINGS.model_copy(update={"significance": significance})
    (check,) = gate.check_coverage(metrics({0.9: 840}), settings)
    assert check.passed is (significance < 0.05)
