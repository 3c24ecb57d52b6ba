"""Two sides of one model beside each other: answers, classes, params and data. Pure functions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.split import SPLITS
from pipeline.report import paired
from pipeline.report.evidence import Evidence
from pipeline.report.records import ClassRow, Data, Prediction


@dataclass(frozen=True)
class Change:
    """One image that the two sides answer differently."""

    before: Prediction
    now: Prediction


@dataclass(frozen=True)
class Answers:
    """The images that both sides were asked about, by name and class, and how many only one of them was."""

    images: int
    only_before: int
    only_now: int
    lost: list[Change]
    gained: list[Change]
    other: list[Change]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Lost, gained, all: what the formulas take."""
        return len(self.lost), len(self.gained), self.images

    @property
    def changes(self) -> list[Change]:
        """Lost ones first, those that it is surest about first; then gained ones, then other mistakes."""
        return [*self.lost, *self.gained, *self.other]

    @property
    def significant(self) -> bool:
        return paired.probability(len(self.lost), len(self.gained)) < paired.SIGNIFICANCE


def answers(before: Iterable[Prediction], now: Iterable[Prediction]) -> Answers:
    """Joins the predictions of two sides."""
    old = {(row.image, row.actual): row for row in before}
    new = {(row.image, row.actual): row for row in now}
    both = [Change(old[key], new[key]) for key in new if key in old]
    changed = sorted(
        (change for change in both if change.before.predicted != change.now.predicted), key=_sure
    )
    return Answers(
        images=len(both),
        only_before=len(old) - len(both),
        only_now=len(new) - len(both),
        lost=[change for change in changed if change.before.right],
        gained=[change for change in changed if change.now.right],
        other=[change for change in changed if not change.before.right and not change.now.right],
    )


def _sure(change: Change) -> tuple[float, str]:
    """Surest mistake first: the one that is made now or, of images that were gained, the one that was."""
    wrong = change.before if change.now.right else change.now
    return -wrong.confidence, change.now.image


def same(before: Evidence, now: Evidence) -> bool:
    """Is it the same model with the same answers? A gate that judges it otherwise does not matter here."""
    gate = {"gate": now.metrics.gate}
    return before.metrics.model_copy(update=gate) == now.metrics and before.predictions == now.predictions


def same_classes(before: Evidence, now: Evidence) -> bool:
    """Are recalls, precisions and confusions the same?"""
    return (before.classes, before.confusions) == (now.classes, now.confusions)


@dataclass(frozen=True)
class ClassChange:
    """A class that both sides know. Recalls from 0 to 1."""

    name: str
    images: int
    before: float
    now: float

    @property
    def difference(self) -> float:
        return self.now - self.before


def class_changes(before: Sequence[ClassRow], now: Sequence[ClassRow]) -> list[ClassChange]:
    """The classes whose recall has changed, greatest loss first."""
    old = {row.name: row for row in before}
    both = [
        ClassChange(row.name, row.images, old[row.name].recall, row.recall) for row in now if row.name in old
    ]
    return sorted((row for row in both if row.difference), key=lambda row: (row.difference, row.name))


def weakest(rows: Sequence[ClassRow], most: int) -> list[ClassRow]:
    """The classes with images whose recall is lowest."""
    measured = [row for row in rows if row.images]
    return sorted(measured, key=lambda row: (row.recall, row.precision, row.name))[:most]


# Key, value before, value now; `None` where one side has no such key.
Difference = tuple[str, str | None, str | None]


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """What two flat mappings do not agree on, in the order of the keys."""
    keys = sorted({*before, *now})
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def flat(document: object, prefix: str = "") -> dict[str, str]:
    """The leaves of nested mappings, by their dotted keys, as JSON writes them."""
    if not isinstance(document, Mapping) or not document:
        return {prefix: _leaf(document)}
    leaves: dict[str, str] = {}
    for key, value in document.items():
        leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _leaf(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def split_changes(before: Data, now: Data) -> list[tuple[str, list[int], list[int]]]:
    """The classes whose numbers of images have changed, most first: name, counts of SPLITS before and now."""
    rows = [
        (name, _counts(before, name), _counts(now, name)) for name in sorted({*before.classes, *now.classes})
    ]
    moved = {name: sum(abs(b - a) for a, b in zip(old, new, strict=True)) for name, old, new in rows}
    return sorted((row for row in rows if moved[row[0]]), key=lambda row: -moved[row[0]])


def _counts(data: Data, name: str) -> list[int]:
    return [data.classes.get(name, {}).get(split, 0) for split in SPLITS]
