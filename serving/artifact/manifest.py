"""The bundle's format: `manifest.json` lists every file with its role, SHA-256 and size.

The digest of a bundle is the SHA-256 of its manifest, so it covers all of its bytes. `pipeline` writes what
`serving` reads; this format is what they share. Format 2 is written. Format 1, with square RGB inputs and one
output, is read for ever; `docs/models.md` describes both.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from serving.artifact.files import to_json
from serving.errors import ManifestInvalid

FORMAT, FORMATS = 2, (1, 2)
MANIFEST = "manifest.json"
GRAPH = "serving/model.onnx"
# The float32 graph that an 8-bit one was made from; evaluation compares the two.
FLOAT_GRAPH = "data/model.onnx"
LABELS = "serving/labels.json"
PREPROCESSING = "serving/preprocessing.json"
GOLDEN = "serving/golden/golden.json"
# Optional since format 2: what the confidence of predictions rests on; and for explanations the weights of
# the last layer, and what is added to the served graph so that it gives the features of each place.
CONFIDENCE, HEAD, EXPLANATION = "serving/confidence.json", "serving/head.npy", "serving/explanation.onnx"
# The Keras model. An imported ONNX file or SavedModel has none.
KERAS_MODEL = "data/model.keras"

# The outputs of the served graph; `energy` is optional since format 2. `features` is the output that
# `EXPLANATION` adds.
PROBABILITIES, ENERGY, FEATURES = "probabilities", "energy", "features"

# The role of the files that a server needs; it needs no others.
SERVING = "serving"

# A manifest has about 150 bytes per file. ONNX's protobuf messages cannot exceed 2 GiB.
MAX_MANIFEST_BYTES, MAX_FILE_BYTES = 2**20, 2**31


@dataclass(frozen=True)
class ManifestFile:
    """One file of the manifest. `role` is the part that needs it: mlflow, keras, serving or code."""

    role: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The contents of a bundle. Shapes are without the batch dimension; `input_shape` is (H, W, C).

    `energy`: the graph has an output of this name, [N], the logarithm of the sum of the exponentials of the
    logits.
    """

    name: str
    files: dict[str, ManifestFile]
    input_shape: tuple[int, int, int]
    classes: int
    energy: bool = False
    format: int = FORMAT

    @property
    def precision(self) -> Literal["int8", "float32"]:
        """The number format that the served graph computes with."""
        return "int8" if FLOAT_GRAPH in self.files else "float32"

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The outputs of the served graph, in its order; all are float32."""
        optional: dict[str, tuple[int, ...]] = {ENERGY: ()} if self.energy else {}
        return {PROBABILITIES: (self.classes,)} | optional

    def to_bytes(self) -> bytes:
        """The canonical bytes, of which `compute_digest` is the bundle's digest."""
        outputs = [
            {"name": name, "dtype": "float32", "shape": [None, *shape]}
            for name, shape in self.output_shapes.items()
        ]
        document = {
            "format": self.format,
            "name": self.name,
            "input": {"name": "image", "dtype": "uint8", "shape": [None, *self.input_shape]},
            **({"output": outputs[0]} if self.format == 1 else {"outputs": outputs}),
            "files": {path: vars(file) for path, file in self.files.items()},
        }
        return to_json(document)

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Self:
        """Parses a manifest. Raises `ManifestInvalid` for any bytes that `to_bytes` would not write."""
        try:
            document = json.loads(data)
            number = document["format"]
            if type(number) is not int or number not in FORMATS:
                raise ManifestInvalid(path, f"it has the format {number!r}, and this version reads 1 and 2")
            outputs = [document["output"]] if number == 1 else document["outputs"]
            shapes = {output["name"]: tuple(output["shape"][1:]) for output in outputs}
            manifest = cls(
                name=str(document["name"]),
                files={str(name): ManifestFile(**entry) for name, entry in document["files"].items()},
                input_shape=tuple(document["input"]["shape"][1:]),
                classes=int(shapes[PROBABILITIES][0]),
                energy=ENERGY in shapes,
                format=number,
            )
            rewritten = manifest.to_bytes()
        # OverflowError: 1e400 is valid JSON and parses to infinity.
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ManifestInvalid(path, f"{type(error).__name__}: {error}") from None
        if rewritten != data:
            raise ManifestInvalid(path, f"format {number} would write it differently")
        if reasons := list(manifest._invalid_values()):
            raise ManifestInvalid(path, reasons[0])
        return manifest

    def _invalid_values(self) -> Iterator[str]:
        """Values that are canonical JSON but impossible: shapes, paths, types and sizes."""
        sides: tuple[Any, ...] = (*self.input_shape, self.classes)
        if any(type(side) is not int or side < 1 for side in sides):
            yield f"{[*self.input_shape]} and {self.classes} are no shapes"
        if len(self.input_shape) != 3:
            yield f"{[*self.input_shape]} is no shape of an image"
        for name, file in self.files.items():
            if not _is_relative_path(name):
                yield f"{name!r} is no file inside the bundle"
            if not isinstance(file.role, str) or not isinstance(file.sha256, str):
                yield f"{name} has a role or a SHA-256 that is not a string"
            if type(file.size) is not int or not 0 <= file.size <= MAX_FILE_BYTES:
                yield f"{name} has {file.size!r} bytes, and 0 to {MAX_FILE_BYTES:,} are possible"


def compute_digest(manifest: bytes) -> str:
    """The digest of a bundle: the SHA-256 of the bytes of its `manifest.json`, as 64 hexadecimal digits."""
    return hashlib.sha256(manifest).hexdigest()


def _is_relative_path(name: str) -> bool:
    """Is it a normalised POSIX path of a file below the bundle?"""
    path = PurePosixPath(name)
    normalised = path.as_posix() == name and "\0" not in name
    return normalised and bool(path.name) and ".." not in path.parts and not path.is_absolute()
