"""The temperature is the most likely one, or 1 where the images do not tell."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax

from pipeline.confidence.temperature import MIN_IMAGES, fit_temperature, negative_log_likelihood

Logits = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def sample(temperature: float, images: int = 2000, classes: int = 5) -> tuple[Logits, Classes]:
    """Logits that are right as often as they say once they are divided by this temperature."""
    random = np.random.default_rng(7)
    logits = random.normal(0, 2, (images, classes))
    actual = [random.choice(classes, p=row) for row in softmax(logits, axis=1)]
    return logits * temperature, np.array(actual)


@pytest.mark.parametrize("true", [0.4, 0.66, 1.8, 5.0])
def test_the_true_temperature_is_found(true: float) -> None:
    logits, actual = sample(true)
    found = fit_temperature(logits, actual)
    assert found is not None
    assert found.value == pytest.approx(true, rel=0.06)
    assert found.images == 2000
    # No temperature around it is more likely, but for its rounding.
    best = negative_log_likelihood(logits, actual, found.value)
    for factor in (0.95, 1.05):
        assert best < negative_log_likelihood(logits, actual, factor * found.value)


def test_a_gain_that_may_be_chance_is_left_out() -> None:
    found = fit_temperature(*sample(1.02, images=200))
    assert found is not None
    assert found.value == 1


def test_without_an_error_there_is_no_upper_limit() -> None:
    logits, _ = sample(1.0)
    found = fit_temperature(logits, logits.argmax(axis=1))
    assert found is not None
    assert found.value == 1


def test_few_images_tell_nothing() -> None:
    logits, actual = sample(3.0, images=MIN_IMAGES - 1)
    assert fit_temperature(logits, actual) is None


def test_last_digits_do_not_matter() -> None:
    """Those of float32 depend on the CPU."""
    logits, actual = sample(1.8)
    noise = np.random.default_rng(8).normal(0, 1e-6, logits.shape)
    assert fit_temperature(logits + noise, actual) == fit_temperature(logits, actual)
