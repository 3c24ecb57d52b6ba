"""How two files differ, in a few words: the largest difference of a weight, the first key, the first line."""

import json
from collections.abc import Callable
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
import yaml

from pipeline.project.weight_files import Weights, read_keras, read_onnx
from pipeline.report.differences import flatten, param_changes

# Characters of a value or line that are shown.
SHOWN = 60


def describe_difference(name: str, expected: bytes | None, found: bytes | None) -> str | None:
    """How a file with this name differs; `None` if it does not, or is missing on both sides."""
    if expected == found:
        return None
    if expected is None or found is None:
        return "is not expected" if expected is None else "is missing"
    describe = DESCRIPTIONS.get(PurePath(name).suffix, describe_lines)
    try:
        return describe(expected, found)
    # A damaged file: its bytes are compared instead.
    except (ValueError, OSError, yaml.YAMLError):
        return describe_bytes(expected, found)


def describe_weights(expected: Weights, found: Weights) -> str:
    """The largest difference of a weight and its name."""
    shapes = [{name: value.shape for name, value in weights.items()} for weights in (expected, found)]
    if shapes[0] != shapes[1]:
        names = sorted(name for name in {*expected, *found} if shapes[0].get(name) != shapes[1].get(name))
        return f"has other weights: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    largest = {name: _largest_difference(expected[name], found[name]) for name in expected}
    differing = [name for name, difference in largest.items() if difference]
    if not differing:
        return "has equal weights, but other bytes"
    name = max(differing, key=lambda differing_name: largest[differing_name])
    return (
        f"{len(differing)} of {len(largest)} tensors differ, by up to {largest[name]:.2g}, which is in {name}"
    )


def _largest_difference(expected: npt.NDArray[np.generic], found: npt.NDArray[np.generic]) -> float:
    if expected.dtype.kind not in "biuf" or found.dtype.kind not in "biuf":
        return float(not np.array_equal(expected, found))
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    return float(difference.max(initial=0.0))


def describe_keys(expected: object, found: object) -> str:
    """The first key of a document whose value differs, with both values."""
    changes = param_changes(flatten(expected), flatten(found))
    if not changes:
        return "has equal values, but other bytes"
    key, before, now = changes[0]
    more = f"; {len(changes) - 1} more keys differ" if len(changes) > 1 else ""
    return f"{key or 'it'} is {_short(now)} instead of {_short(before)}{more}"


def describe_lines(expected: bytes, found: bytes) -> str:
    """The first line that differs, with both texts."""
    before, now = (data.decode("utf-8").splitlines() for data in (expected, found))
    pairs = list(enumerate(zip(before, now, strict=False), start=1))
    differing = [(number, pair) for number, pair in pairs if pair[0] != pair[1]]
    if not differing:
        return f"has {len(now)} lines instead of {len(before)}"
    number, (old, new) = differing[0]
    more = f"; {len(differing) - 1} more lines differ" if len(differing) > 1 else ""
    return f"line {number} is {_short(new)!r} instead of {_short(old)!r}{more}"


def describe_bytes(expected: bytes, found: bytes) -> str:
    """Sizes, and how many bytes differ."""
    if len(expected) != len(found):
        return f"has {len(found):,} bytes instead of {len(expected):,}"
    arrays = (np.frombuffer(data, np.uint8) for data in (expected, found))
    return f"{int(np.not_equal(*arrays).sum()):,} of {len(expected):,} bytes differ"


def _short(value: str | None) -> str:
    if value is None:
        return "missing"
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 3]}..."


DESCRIPTIONS: dict[str, Callable[[bytes, bytes], str]] = {
    ".keras": lambda a, b: describe_weights(read_keras(a), read_keras(b)),
    ".onnx": lambda a, b: describe_weights(read_onnx(a), read_onnx(b)),
    ".json": lambda a, b: describe_keys(json.loads(a), json.loads(b)),
    ".lock": lambda a, b: describe_keys(yaml.safe_load(a), yaml.safe_load(b)),
    ".png": describe_bytes,
}
