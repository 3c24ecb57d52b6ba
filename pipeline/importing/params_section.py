"""The section of params.yaml that `inspect` prints and writes for a model that the user brings."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from pipeline.importing.declaration import Declaration, describe, format_scale
from pipeline.model_files.model_file import Head

# What a key means, as a comment beside it.
COMMENTS = {
    "labels": "names in the order of the outputs, or imagenet",
    "size": "height, width",
    "resize": "crop: the centre; squash: all, without its proportions; pad: all, with black borders",
    "crop": "share of the image that a crop keeps",
    "antialias": "false: as TensorFlow and Keras layers resize",
    "channels": "RGB, BGR or grey",
    "scale": "of pixels: inside (layers in the file), none, [0, 1], [-1, 1], caffe, torch",
    "head": "softmax, logits; or sigmoid, logit: one column for the second class",
    "code": "a Python file with layers of your own; it is run",
    "architecture": "in keras.applications, for a file of weights alone",
}
SECTION = """\
prepare:
  split: auto           # folders named train, val, test if present, else by content
  stratify: {stratify}
  valid: 0.2            # nothing is trained; 8-bit calibration needs photos
  test: 0.8
  min_per_class: 1
  convert: []           # formats to convert to PNG: TIFF, HEIC, AVIF
build:
{build}export:
  golden: 4
  precision: float32    # or int8: half the latency on many CPUs; judging its loss takes 200 test photos
  calibration: 64
evaluate:
  min_top1: {floor:g}
  min_top5: {floor:g}         # checked if there are more than five classes
  min_recall: {floor:g}
  min_over_majority: 0.2  # share of the errors of always predicting the commonest class to avoid; 0: no check
  min_agreement: 0.99
  max_quantisation_loss: 0.005
  max_latency_ms: 500
  significance: 0.05
register:
  description: {description}
"""


# Photos of the smallest class from which on a fifth, the share of `valid`, is at least one.
STRATIFIABLE = 5


@dataclass(frozen=True)
class ImportParams:
    """The values of `build` that are not part of the declaration; files are names in data/raw/<model>/."""

    model: str
    labels: str
    head: Head
    code: str | None = None
    architecture: str | None = None


def render_section(
    files: ImportParams, declaration: Declaration, lowest_top1: float | None, smallest_class: int | None
) -> str:
    """The section as YAML.

    `lowest_top1` is the lower bound of the measured top-1, and `smallest_class` the number of photos of the
    smallest class; `None` without photos.
    """
    declared = describe(declaration)
    values: dict[str, Any] = {
        "method": "import",
        "model": files.model,
        "labels": files.labels,
        **declared,
        "scale": format_scale(declaration.scale),
        "head": files.head,
        **({"code": files.code} if files.code else {}),
        **({"architecture": files.architecture} if files.architecture else {}),
    }
    # A little below what was measured: other photos are drawn for the test.
    floor = 0.5 if lowest_top1 is None else max(0.0, math.floor(100 * lowest_top1 - 2) / 100)
    description = f"Imported from {files.model}."
    return SECTION.format(
        stratify=_to_yaml(smallest_class is None or smallest_class >= STRATIFIABLE),
        build=indent(_render(values), "  "),
        floor=floor,
        description=description,
    )


def _render(values: Mapping[str, Any]) -> str:
    lines = []
    for key, value in values.items():
        text = f"{key}: {_to_yaml(value)}"
        lines.append(f"{text:<20}  # {COMMENTS[key]}" if key in COMMENTS else text)
    return "".join(f"{line}\n" for line in lines)


def _to_yaml(value: Any) -> str:  # noqa: ANN401  (any value of params.yaml)
    if isinstance(value, bool):
        return str(value).lower()
    # JSON's quotes are YAML's, for names of files that YAML would read as something else.
    plain = not isinstance(value, str) or re.fullmatch(r"[A-Za-z_][\w.-]*|\[.*\]|\{.*\}", value)
    return str(value) if plain else json.dumps(value)
