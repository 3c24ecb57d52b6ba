"""Label sets have the right class as often as they promise, and promise nothing on few images."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax

from pipeline.confidence.label_sets import fit_label_sets
from serving.artifact.confidence import LabelSet
from serving.reliability import members


def sample(images: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities that are too sure, and actual classes."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (images, 6))
    actual = np.array([random.choice(6, p=row) for row in softmax(logits, axis=1)])
    return softmax(2 * logits, axis=1), actual


def test_coverage_on_other_images() -> None:
    """On average over many samples it is at least the level, and at most 1/(n+1) above: the theorem."""
    covered = {0.9: 0.0, 0.95: 0.0}
    runs, fitted, tested = 200, 99, 500
    for seed in range(runs):
        sets = fit_label_sets(*sample(fitted, seed))
        probabilities, actual = sample(tested, 10_000 + seed)
        for entry in sets:
            assert entry.quantile is not None
            # Without the best class, which is always a member.
            inside = probabilities[np.arange(tested), actual] >= 1 - entry.quantile
            covered[entry.level] += inside.mean() / runs
    for level, share in covered.items():
        assert level - 0.01 < share < level + 1 / (fitted + 1) + 0.01


def test_the_quantile_by_hand() -> None:
    probabilities = np.array([[1 - score, score] for score in np.linspace(0.01, 0.19, 19)])
    actual = np.zeros(19, dtype=np.int64)
    # ceil(20 x 0.9) = 18th and ceil(20 x 0.95) = 19th of 19 scores.
    assert [entry.quantile for entry in fit_label_sets(probabilities, actual)] == [0.18, 0.19]


@pytest.mark.parametrize(("images", "promised"), [(8, []), (9, [0.9]), (18, [0.9]), (19, [0.9, 0.95])])
def test_few_images_promise_nothing(images: int, promised: list[float]) -> None:
    sets = fit_label_sets(*sample(images, 1))
    assert [entry.level for entry in sets if entry.quantile is not None] == promised
    assert {entry.images for entry in sets} == {images}


def test_a_quantile_is_rounded_up() -> None:
    probabilities = np.tile([0.87654321, 0.12345679], (30, 1))
    (entry, _) = fit_label_sets(probabilities, np.zeros(30, dtype=np.int64))
    assert entry.quantile == 0.1235


def test_a_small_threshold_is_not_rounded_to_nothing() -> None:
    probabilities = np.tile([5.12345e-5, 1 - 5.12345e-5], (30, 1))
    (entry, _) = fit_label_sets(probabilities, np.zeros(30, dtype=np.int64))
    assert entry.quantile is not None
    assert 1 - entry.quantile == pytest.approx(5.12e-5, rel=1e-6)
    assert members(np.array([[5.2e-5, 0.99, 5.0e-5]]), entry).tolist() == [[True, True, False]]
    (none, _) = fit_label_sets(np.tile([0.0, 1.0], (30, 1)), np.zeros(30, dtype=np.int64))
    assert none.quantile == 1.0


def test_the_best_class_is_always_a_member() -> None:
    probabilities = np.array([[0.4, 0.35, 0.25], [0.98, 0.01, 0.01]])
    assert members(probabilities, LabelSet(0.9, 0.05, 50)).tolist() == [[True, False, False]] * 2
    assert members(probabilities, LabelSet(0.9, 0.7, 50)).tolist() == [
        [True, True, False],
        [True, False, False],
    ]


def test_a_set_without_a_guarantee_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="9 images are too few"):
        members(np.array([[1.0, 0.0]]), LabelSet(0.95, None, 9))
