"""The calibration error: scikit-learn's bins, mapie's error, an interval, and what is left by chance."""

import numpy as np
import numpy.typing as npt
import pytest
from mapie.metrics.calibration import expected_calibration_error
from sklearn.calibration import calibration_curve

from pipeline.evaluation import metrics
from pipeline.evaluation.confidence_record import calibration_error

Confidence = npt.NDArray[np.float32]


def sample(images: int, seed: int, excess: float = 0.0) -> tuple[Confidence, npt.NDArray[np.bool_]]:
    """Confidences, and answers that are less often right than these say by `excess`."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.3, 1, images).astype(np.float32)
    return confidence, random.random(images) < confidence - excess


def test_bins_are_those_of_scikit_learn() -> None:
    confidence, correct = sample(400, 1)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=metrics.CALIBRATION_BINS)
    bins = metrics.calibration_bins(confidence, correct)
    assert [entry.accuracy for entry in bins] == pytest.approx(accuracy)
    assert [entry.confidence for entry in bins] == pytest.approx(mean)


def test_the_error_is_that_of_mapie() -> None:
    confidence, correct = sample(400, 2, excess=0.1)
    # mapie 1.6 counts the edges of the bins.
    expected = expected_calibration_error(
        correct.astype(int), confidence, num_bins=metrics.CALIBRATION_BINS + 1, split_strategy="uniform"
    )
    assert calibration_error(confidence, correct)["value"] == pytest.approx(expected, abs=1e-5)


def test_the_interval_is_around_the_error_and_narrows() -> None:
    few, many = (calibration_error(*sample(images, 3, excess=0.15)) for images in (100, 3000))
    for found in (few, many):
        low, high = found["interval"]
        assert 0 <= low < found["value"] < high
    assert many["interval"][0] < 0.15 < many["interval"][1]
    assert np.diff(many["interval"]) < np.diff(few["interval"]) / 3
    # More than chance.
    assert many["interval"][0] > 3 * many["if_calibrated"]


def test_a_perfectly_calibrated_model_has_an_error_by_chance() -> None:
    found = [calibration_error(*sample(200, seed)) for seed in range(10)]
    mean = np.mean([entry["value"] for entry in found])
    assert mean > 0.04
    assert found[0]["if_calibrated"] == pytest.approx(mean, rel=0.2)


def test_the_same_images_give_the_same_interval() -> None:
    assert calibration_error(*sample(50, 1)) == calibration_error(*sample(50, 1))
