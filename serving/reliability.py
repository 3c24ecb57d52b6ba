"""How far a prediction can be relied on: label sets, whether the image looks familiar, and abstention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from serving.artifact.bundle import Bundle
from serving.artifact.confidence import LabelSet
from serving.model.predictor import Prediction, Probabilities


class Judgement(NamedTuple):
    """One entry for each prediction; None where the model does not have it, or the operator asks for none.

    `label_sets` have the right class with the probability `level`, on average over images of the kind of the
    validation images.
    """

    label_sets: list[list[str]] | None
    level: float | None
    familiar: list[bool] | None
    abstained: list[bool] | None


@dataclass(frozen=True)
class Reliability:
    """`label_sets` by level, ascending; `energy_threshold` is None if the graph gives no energy.

    `abstain_below` is a probability; 0: never.
    """

    labels: tuple[str, ...]
    label_sets: dict[float, LabelSet]
    energy_threshold: float | None
    abstain_below: float

    @classmethod
    def of_bundle(cls, bundle: Bundle, abstain_below: float = 0.0) -> Self:
        """What the bundle's confidence allows; raises `ContractBroken`."""
        confidence = bundle.confidence()
        sets = () if confidence is None else confidence.label_sets
        energy = None if confidence is None else confidence.energy
        return cls(
            tuple(label.name for label in bundle.labels()),
            {entry.level: entry for entry in sets if entry.quantile is not None},
            None if energy is None else energy.threshold,
            abstain_below,
        )

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels for which there are label sets, ascending."""
        return tuple(self.label_sets)

    def judge(self, predictions: Sequence[Prediction], level: float | None) -> Judgement:
        """The judgement on each prediction; `level` is one of `levels`, or None for no label sets."""
        sets = None if level is None else [self._label_set(each.probabilities, level) for each in predictions]
        threshold, least = self.energy_threshold, self.abstain_below
        # A prediction has an energy if there is a threshold: `Bundle.confidence` checks it.
        familiar = None if threshold is None else [_is_familiar(each, threshold) for each in predictions]
        abstained = [float(each.probabilities.max()) < least for each in predictions] if least > 0 else None
        return Judgement(sets, level, familiar, abstained)

    def _label_set(self, probabilities: Probabilities, level: float) -> list[str]:
        """The labels of one set, the most probable first."""
        inside = members(probabilities[np.newaxis], self.label_sets[level])[0]
        (numbers,) = np.nonzero(inside)
        ordered = numbers[np.argsort(-probabilities[numbers], kind="stable")]
        return [self.labels[number] for number in ordered]


def _is_familiar(prediction: Prediction, threshold: float) -> bool:
    return prediction.energy is not None and prediction.energy >= threshold


def members(probabilities: npt.NDArray[np.floating], label_set: LabelSet) -> npt.NDArray[np.bool_]:
    """Which classes are in the set of each image, [N,K], from probabilities [N,K]; the best class always is.

    Raises `ValueError` if the set rests on too few images.
    """
    if label_set.quantile is None:
        raise ValueError(f"{label_set.images} images are too few for a set with {label_set.level:.0%}")
    inside = probabilities.astype(np.float64) >= 1 - label_set.quantile
    inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return np.asarray(inside)
