"""`serving/confidence.json` of a bundle: what was measured about its probabilities, and on how many images.

Every part is optional: `null` in the file and None here say that it was not measured. The parser is strict: a
number out of range would silently make the server too sure of itself.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self, TypeVar

# Coverage of the label sets.
LEVELS = (0.9, 0.95)
# A temperature far from 1 is a failed fit. A float32 logit's exponential overflows above 88.
MAX_TEMPERATURE, MAX_ENERGY = 100.0, 1e6
# The side of a square of 200 megapixels, the largest image, and some more.
MAX_SIZE = 20_000.0
MAX_BINS = 1000

Part = TypeVar("Part")


@dataclass(frozen=True)
class Temperature:
    """The number that logits were divided by in the graph, fitted on `images` images."""

    value: float
    images: int


@dataclass(frozen=True)
class LabelSet:
    """A set of the classes with a probability of at least `1 - quantile` has the right one with `level`.

    `quantile` is None if `images` are too few for any such set.
    """

    level: float
    quantile: float | None
    images: int


@dataclass(frozen=True)
class Energy:
    """Images with an energy below `threshold` are unlike the training images; `share` of `images` were.

    `clip` is the limit of the features in front of the last layer, of which the graph computes the energy;
    None if they are not clipped.
    """

    threshold: float
    share: float
    clip: float | None
    images: int


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` of `images` values lie from `edges[i]` to `edges[i + 1]`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    images: int


@dataclass(frozen=True)
class Reference:
    """What is usual: predictions of each class [K], and distributions of values of images and predictions.

    `confidence` is the probability of the best class, `brightness` the mean of the model's input, 0 to 1, and
    `size` the square root of the number of pixels of the encoded image.
    """

    classes: tuple[int, ...] | None
    confidence: Histogram | None
    energy: Histogram | None
    brightness: Histogram | None
    size: Histogram | None
    images: int


@dataclass(frozen=True)
class Confidence:
    """The whole file. `label_sets` is empty if there are none."""

    temperature: Temperature | None
    label_sets: tuple[LabelSet, ...]
    energy: Energy | None
    reference: Reference | None

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` parses."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object, classes: int) -> Self:
        """Parses the document of a bundle with this number of classes; raises `ValueError` or `TypeError`."""
        names = ("temperature", "label_sets", "energy", "reference")
        found = _members(document, names, "the document")
        sets = tuple(_label_set(entry) for entry in _list(found["label_sets"], "label_sets", len(LEVELS)))
        levels = [entry.level for entry in sets]
        if levels != sorted(set(levels)):
            raise ValueError(f"the levels of label_sets are {levels}, and must ascend")
        return cls(
            temperature=_optional(found["temperature"], _temperature),
            label_sets=sets,
            energy=_optional(found["energy"], _energy),
            reference=_optional(found["reference"], lambda value: _reference(value, classes)),
        )


def _optional(value: object, parse: Callable[[object], Part]) -> Part | None:
    return None if value is None else parse(value)


def _temperature(value: object) -> Temperature:
    found = _members(value, ("value", "images"), "temperature")
    number = _number(found["value"], "temperature", 1 / MAX_TEMPERATURE, MAX_TEMPERATURE)
    return Temperature(number, _images(found, "temperature"))


def _label_set(value: object) -> LabelSet:
    found = _members(value, ("level", "quantile", "images"), "label_sets")
    level = _number(found["level"], "level", 0, 1)
    if level not in LEVELS:
        raise ValueError(f"a level of label_sets is {level}, and must be one of {LEVELS}")
    quantile = _optional(found["quantile"], lambda value: _number(value, "quantile", 0, 1))
    return LabelSet(level, quantile, _images(found, "label_sets"))


def _energy(value: object) -> Energy:
    found = _members(value, ("threshold", "share", "clip", "images"), "energy")
    threshold = _number(found["threshold"], "the threshold of energy", -MAX_ENERGY, MAX_ENERGY)
    share = _number(found["share"], "the share of energy", 0, 1)
    clip = _optional(found["clip"], lambda value: _number(value, "the clip of energy", 0, MAX_ENERGY))
    return Energy(threshold, share, clip, _images(found, "energy"))


def _reference(value: object, classes: int) -> Reference:
    names = ("classes", "confidence", "energy", "brightness", "size", "images")
    found = _members(value, names, "reference")
    images = _images(found, "reference")
    counts = _optional(found["classes"], lambda value: _counts(value, "classes", classes, images))
    if counts is not None and len(counts) != classes:
        raise ValueError(f"reference has {len(counts)} classes, and the model {classes}")
    return Reference(
        counts,
        _optional(found["confidence"], lambda value: _histogram(value, "confidence", 0, 1)),
        _optional(found["energy"], lambda value: _histogram(value, "energy", -MAX_ENERGY, MAX_ENERGY)),
        _optional(found["brightness"], lambda value: _histogram(value, "brightness", 0, 1)),
        _optional(found["size"], lambda value: _histogram(value, "size", 0, MAX_SIZE)),
        images,
    )


def _histogram(value: object, name: str, low: float, high: float) -> Histogram:
    found = _members(value, ("edges", "counts", "images"), name)
    values = _list(found["edges"], f"the edges of {name}", MAX_BINS + 1)
    edges = tuple(_number(edge, f"an edge of {name}", low, high) for edge in values)
    images = _images(found, name)
    counts = _counts(found["counts"], name, MAX_BINS, images)
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{name} has {len(edges)} edges for {len(counts)} counts, and needs one more edge")
    if any(left >= right for left, right in pairwise(edges)):
        raise ValueError(f"the edges of {name} must ascend")
    return Histogram(edges, counts, images)


def _counts(value: object, name: str, limit: int, images: int) -> tuple[int, ...]:
    counts = tuple(_count(count, f"a count of {name}", 0) for count in _list(value, name, limit))
    if sum(counts) != images:
        raise ValueError(f"the counts of {name} are {sum(counts)} in all, and rest on {images} images")
    return counts


def _members(value: object, names: tuple[str, ...], what: str) -> Mapping[str, Any]:
    """An object with exactly these members."""
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {_text(value)}, and must be an object")
    for name in sorted(value.keys() ^ set(names)):
        raise ValueError(f"{what} has no {name}" if name in names else f"{what} has the unknown key {name!r}")
    return value


def _list(value: object, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise TypeError(f"{what} is {_text(value)}, and must be a list of at most {limit}")
    return value


def _images(members: Mapping[str, Any], what: str) -> int:
    return _count(members["images"], f"images of {what}", 1)


def _count(value: object, what: str, least: int) -> int:
    # `type` rather than isinstance: bool is a subclass of int.
    if type(value) is not int or not least <= value < 2**53:
        raise ValueError(f"{what} is {_text(value)}, and must be a whole number from {least}")
    return value


def _number(value: object, what: str, low: float, high: float) -> float:
    # NaN fails every comparison. Python's JSON parser accepts it.
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):  # type: ignore[operator,arg-type]
        raise ValueError(f"{what} is {_text(value)}, and must be a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    """A short form of a value for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
