"""Label sets and temperature are those of other libraries: mapie and scikit-learn."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pytest
from mapie.classification import SplitConformalClassifier
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from pipeline.confidence.label_sets import fit_label_sets
from pipeline.confidence.temperature import fit_temperature
from serving.artifact.confidence import LEVELS
from serving.reliability import members

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


class Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier whose features are its logits."""

    def fit(self, features: Floats, actual: Classes) -> Self:
        self.classes_ = np.arange(features.shape[1])
        return self

    def decision_function(self, features: Floats) -> Floats:
        return features

    def predict_proba(self, features: Floats) -> Floats:
        return np.asarray(softmax(features, axis=1))

    def predict(self, features: Floats) -> Classes:
        return np.asarray(features.argmax(axis=1))


def sample(images: int, seed: int, sureness: float = 1.0) -> tuple[Floats, Classes]:
    """Logits that are `sureness` times as large as they should be, and actual classes."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (images, 6))
    actual = np.array([random.choice(6, p=row) for row in softmax(logits, axis=1)])
    return sureness * logits, actual


@pytest.mark.parametrize("images", [60, 175])
def test_label_sets_are_those_of_mapie(images: int) -> None:
    logits, actual = sample(images, 1)
    others, _ = sample(1000, 2)
    mapie = SplitConformalClassifier(
        Logits().fit(logits, actual), confidence_level=list(LEVELS), conformity_score="lac", prefit=True
    )
    _, expected = mapie.conformalize(logits, actual).predict_set(others)
    probabilities = softmax(others, axis=1)
    for column, label_set in enumerate(fit_label_sets(softmax(logits, axis=1), actual)):
        assert label_set.quantile is not None
        differs = members(probabilities, label_set) != expected[:, :, column]
        # Ours always have the best class, and the quantile is rounded up by up to 0.0001.
        differs[np.arange(len(others)), probabilities.argmax(axis=1)] = False
        rounded = np.abs(probabilities - (1 - label_set.quantile)) <= 1e-4
        assert not (differs & ~rounded).any()
        assert 1 < expected[:, :, column].sum(axis=1).mean() < 5


@pytest.mark.parametrize("sureness", [0.4, 2.5])
def test_the_temperature_is_that_of_scikit_learn(sureness: float) -> None:
    logits, actual = sample(500, 3, sureness)
    frozen = FrozenEstimator(Logits().fit(logits, actual))
    calibrated = CalibratedClassifierCV(frozen, method="temperature").fit(logits, actual)
    (calibrator,) = calibrated.calibrated_classifiers_[0].calibrators
    found = fit_temperature(logits, actual)
    assert found is not None
    assert found.value == pytest.approx(1 / calibrator.beta_, rel=0.005)
    assert found.value == pytest.approx(sureness, rel=0.2)
