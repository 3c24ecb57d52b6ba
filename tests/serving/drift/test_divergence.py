"""A shift is the Jensen-Shannon divergence, and what is usual is what chance gives."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import jensenshannon

from serving.drift.divergence import shift, usual_share, usual_shift

Counts = npt.NDArray[np.int64]
# Classes, validation images and answers; the last rows have fewer images than classes.
CASES = [(3, 99, 100), (3, 99, 1000), (20, 188, 1000), (1000, 188, 1000), (1000, 953, 1000)]


def shares(classes: int) -> npt.NDArray[np.float64]:
    """Unequal shares of classes, always the same."""
    return np.random.default_rng(classes).dirichlet(np.full(classes, 2.0))


def sample(probabilities: npt.NDArray[np.float64], images: int, seed: int) -> Counts:
    """Counts of random images by class."""
    return np.random.default_rng(seed).multinomial(images, probabilities)


@pytest.mark.parametrize(("classes", "images", "answers"), CASES)
def test_the_shift_is_that_of_scipy(classes: int, images: int, answers: int) -> None:
    left, right = sample(shares(classes), images, 1), sample(shares(classes)[::-1], answers, 2)
    assert shift(left, right) == pytest.approx(jensenshannon(left, right, base=2) ** 2, abs=1e-5)


def test_the_shift_is_from_0_to_1() -> None:
    left = np.array([3, 0, 5])
    assert shift(left, 7 * left) == 0
    assert shift(left, np.array([0, 9, 0])) == 1


@pytest.mark.parametrize(("classes", "images", "answers"), CASES)
def test_equal_distributions_stay_below_the_usual(classes: int, images: int, answers: int) -> None:
    """By definition 1 % are above; of 40 pairs 4 or more are with a probability of less than 0.1 %."""
    above = 0
    for seed in range(40):
        reference = sample(shares(classes), images, seed)
        window = sample(shares(classes), answers, 1000 + seed)
        above += shift(reference, window) > usual_shift(reference, window)
    assert above < 4


@pytest.mark.parametrize(("classes", "images", "answers"), CASES)
def test_another_distribution_is_above_the_usual(classes: int, images: int, answers: int) -> None:
    # The tenth of the classes that are the most seldom have all of the answers.
    seldom = np.argsort(shares(classes))[: max(1, classes // 10)]
    other = np.zeros(classes)
    other[seldom] = 1 / len(seldom)
    for seed in range(5):
        reference, window = sample(shares(classes), images, seed), sample(other, answers, 1000 + seed)
        # The margin of the alert rules.
        assert shift(reference, window) > usual_shift(reference, window) + 0.02


def test_few_images_of_many_classes_are_far_apart_by_chance() -> None:
    uniform = np.full(1000, 0.001)
    reference, window = sample(uniform, 188, 1), sample(uniform, 1000, 2)
    assert 0.7 < shift(reference, window) < usual_shift(reference, window)


def test_the_usual_is_always_the_same() -> None:
    left, right = sample(shares(20), 188, 1), sample(shares(20), 1000, 2)
    assert usual_shift(left, right) == usual_shift(left, right) > 0


def test_very_many_validation_images() -> None:
    """They are scaled down: as a list they would take more memory than there is."""
    window = sample(shares(200), 1000, 1)
    few, many = ((images * shares(200)).astype(np.int64) for images in (10**6, 2**50))
    assert usual_shift(many, window) == pytest.approx(usual_shift(few, window), abs=0.01)


@pytest.mark.parametrize(
    ("counted", "images", "answers"), [(9, 188, 1000), (0, 99, 150), (2500, 50_000, 1000)]
)
def test_the_usual_share_is_exceeded_once_in_a_hundred_times(counted: int, images: int, answers: int) -> None:
    random = np.random.default_rng(7)
    true = random.beta(counted + 0.5, images - counted + 0.5, 20_000)
    above = (random.binomial(answers, true) / answers > usual_share(counted, images, answers)).mean()
    assert 0.004 < above < 0.02
