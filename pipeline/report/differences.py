"""Differences between two evaluations of a model: predictions, classes, data and params. Pure functions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.split import SPLITS
from pipeline.evaluation.metrics import paired_difference_interval
from pipeline.report.results import ClassResult, DataSummary, Prediction, Results

# Two-sided; matches the 95 % intervals.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class ChangedPrediction:
    """An image whose predicted class changed."""

    before: Prediction
    now: Prediction


@dataclass(frozen=True)
class PairedPredictions:
    """The predictions of two models for the same images, matched by path and actual class.

    `lost`: only the old model was correct; `gained`: only the new one was; `other_errors`: both were wrong,
    differently. Each list starts with the most confident error.
    """

    images: int
    only_before: int
    only_now: int
    lost: list[ChangedPrediction]
    gained: list[ChangedPrediction]
    other_errors: list[ChangedPrediction]

    @property
    def changed(self) -> list[ChangedPrediction]:
        return [*self.lost, *self.gained, *self.other_errors]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Lost, gained, images: the arguments of the paired statistics."""
        return len(self.lost), len(self.gained), self.images

    @property
    def p_value(self) -> float:
        return mcnemar_p_value(len(self.lost), len(self.gained))

    @property
    def significant(self) -> bool:
        return self.p_value < SIGNIFICANCE

    @property
    def significantly_worse(self) -> bool:
        return self.significant and len(self.lost) > len(self.gained)


def pair_predictions(before: Iterable[Prediction], now: Iterable[Prediction]) -> PairedPredictions:
    old = {(row.image, row.actual): row for row in before}
    new = {(row.image, row.actual): row for row in now}
    both = [ChangedPrediction(old[key], new[key]) for key in new if key in old]
    changed = sorted(
        (change for change in both if change.before.predicted != change.now.predicted), key=_error_rank
    )
    return PairedPredictions(
        images=len(both),
        only_before=len(old) - len(both),
        only_now=len(new) - len(both),
        lost=[change for change in changed if change.before.correct],
        gained=[change for change in changed if change.now.correct],
        other_errors=[change for change in changed if not change.before.correct and not change.now.correct],
    )


def _error_rank(change: ChangedPrediction) -> tuple[float, str]:
    """The most confident error first: the new prediction or, where that is correct, the old one."""
    wrong = change.before if change.now.correct else change.now
    return -wrong.confidence, change.now.image


def accuracy_change(lost: int, gained: int, images: int) -> float:
    """The new accuracy minus the old one, -1 to 1."""
    return (gained - lost) / images


def accuracy_change_interval(lost: int, gained: int, images: int) -> tuple[float, float]:
    """The 95 % interval of the change in accuracy; (-1, 1) without images."""
    low, high = paired_difference_interval(lost, gained, images)
    return -high, -low


def mcnemar_p_value(lost: int, gained: int) -> float:
    """McNemar's exact test, two-sided. Source: McNemar 1947; binomial distribution of `lost` among both."""
    total = lost + gained
    binomial = tail = 1
    # Each coefficient from the previous one: computing them separately takes seconds for thousands of images.
    for count in range(1, min(lost, gained) + 1):
        binomial = binomial * (total - count + 1) // count
        tail += binomial
    return min(1.0, float(2 * tail / 2**total))


def same_results(before: Results, now: Results) -> bool:
    """Whether bundle, metrics and predictions are equal; the gate's thresholds and decision may differ."""
    metrics = before.metrics.model_copy(update={"gate": now.metrics.gate})
    return metrics == now.metrics and before.predictions == now.predictions


def same_classes(before: Results, now: Results) -> bool:
    return (before.classes, before.confusions) == (now.classes, now.confusions)


@dataclass(frozen=True)
class RecallChange:
    """A class in both evaluations whose recall (0 to 1) changed."""

    name: str
    images: int
    before: float
    now: float

    @property
    def difference(self) -> float:
        return self.now - self.before


def recall_changes(before: Sequence[ClassResult], now: Sequence[ClassResult]) -> list[RecallChange]:
    """Greatest loss first."""
    old = {row.name: row.recall for row in before}
    changes = [
        RecallChange(row.name, row.images, old[row.name], row.recall) for row in now if row.name in old
    ]
    return sorted((row for row in changes if row.difference), key=lambda row: (row.difference, row.name))


def weakest_classes(rows: Sequence[ClassResult], count: int) -> list[ClassResult]:
    """The `count` classes with the lowest recall, without those that have no test images."""
    measured = [row for row in rows if row.images]
    return sorted(measured, key=lambda row: (row.recall, row.precision, row.name))[:count]


def split_changes(before: DataSummary, now: DataSummary) -> list[tuple[str, list[int], list[int]]]:
    """Classes whose image counts changed, greatest change first: name, counts by SPLITS before and now."""
    rows = [
        (name, _counts(before, name), _counts(now, name)) for name in sorted({*before.classes, *now.classes})
    ]
    size = {name: sum(abs(b - a) for a, b in zip(old, new, strict=True)) for name, old, new in rows}
    return sorted((row for row in rows if size[row[0]]), key=lambda row: -size[row[0]])


def _counts(data: DataSummary, name: str) -> list[int]:
    return [data.classes.get(name, {}).get(split, 0) for split in SPLITS]


# Key, value before, value now; `None` where the key is missing.
ParamChange = tuple[str, str | None, str | None]


def param_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[ParamChange]:
    """The entries that differ between two flat mappings, sorted by key."""
    keys = sorted({*before, *now})
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def flatten(document: object, prefix: str = "") -> dict[str, str]:
    """The leaves of nested mappings as JSON, by dotted key."""
    if not isinstance(document, Mapping) or not document:
        return {prefix: json.dumps(document, ensure_ascii=False, default=str)}
    leaves: dict[str, str] = {}
    for key, value in document.items():
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
