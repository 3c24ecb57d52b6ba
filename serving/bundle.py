"""The bundle's format: a folder whose `manifest.json` names every file with its SHA-256.

The digest of a bundle is the SHA-256 of its manifest, so it stands for all of its bytes. Both halves
meet here: `pipeline` writes what this module reads.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serving.decoder import Preprocessing
from serving.errors import (
    BundleMissing,
    ContractBroken,
    DigestMismatch,
    FileMissing,
    FileUnexpected,
    ManifestInvalid,
)

FORMAT = 1
MANIFEST = "manifest.json"
GRAPH = "serving/model.onnx"
LABELS = "serving/labels.json"
PREPROCESSING = "serving/preprocessing.json"
GOLDEN = "serving/golden/golden.json"

# MLflow adds this file to what it downloads; it is no part of the model.
FOREIGN = frozenset({"registered_model_meta"})


@dataclass(frozen=True)
class Label:
    """One class: `name` is unique among the labels, `id` is what the data set calls it."""

    id: str
    name: str


@dataclass(frozen=True)
class Golden:
    """An encoded image and the probabilities (float32 [K]) that were recorded for it."""

    file: str
    data: bytes
    probabilities: npt.NDArray[np.float32]
    tolerance: float


@dataclass(frozen=True)
class File:
    """One line of the manifest. `role` says who needs the file: mlflow, keras, serving or code."""

    role: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a bundle consists of. Shapes are without the batch."""

    name: str
    files: dict[str, File]
    input_shape: tuple[int, int, int]
    classes: int

    def to_bytes(self) -> bytes:
        """The one way in which a manifest is written; its SHA-256 is the digest."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "input": {"name": "image", "dtype": "uint8", "shape": [None, *self.input_shape]},
            "output": {"name": "probabilities", "dtype": "float32", "shape": [None, self.classes]},
            "files": {path: vars(file) for path, file in self.files.items()},
        }
        return to_json(document)

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> Self:
        """Reads a manifest. Raises `ManifestInvalid` for whatever `to_bytes` would not have written."""
        try:
            document = json.loads(data)
            manifest = cls(
                name=str(document["name"]),
                files={str(name): File(**entry) for name, entry in document["files"].items()},
                input_shape=tuple(document["input"]["shape"][1:]),
                classes=int(document["output"]["shape"][1]),
            )
            rewritten = manifest.to_bytes()
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise ManifestInvalid(path, f"{type(error).__name__}: {error}") from None
        if rewritten != data:
            raise ManifestInvalid(path, f"format {FORMAT} would write it differently")
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in manifest.files):
            raise ManifestInvalid(path, "it names a file outside the bundle")
        return manifest


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Every file is checked as it is read, and before anything parses it."""

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the manifest; `BundleMissing` or `ManifestInvalid` if there is no good one."""
        try:
            data = (path / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise BundleMissing(path) from None
        return cls(path, Manifest.from_bytes(data, path / MANIFEST), hashlib.sha256(data).hexdigest())

    def verify(self) -> None:
        """Reads every file. Raises for one that is changed, missing or not in the manifest."""
        for name in self.manifest.files:
            self.read(name)
        known = {*self.manifest.files, MANIFEST, *FOREIGN}
        for found in sorted(self.path.rglob("*")):
            name = found.relative_to(self.path).as_posix()
            # Python may leave its bytecode beside the code; it runs only where the code is checked.
            if found.is_file() and name not in known and "__pycache__" not in found.parts:
                raise FileUnexpected(found)

    def read(self, name: str) -> bytes:
        """The bytes of a file, after their SHA-256 was found right."""
        path, entry = self.path / name, self.manifest.files.get(name)
        if entry is None:
            raise ManifestInvalid(self.path / MANIFEST, f"it does not name {name}")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise FileMissing(path) from None
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise DigestMismatch(path, entry.sha256, found)
        return data

    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the model's outputs."""
        labels = tuple(Label(**entry) for entry in self._json(LABELS))
        if len(labels) != self.manifest.classes:
            raise ContractBroken(
                self.path / LABELS, f"{len(labels)} labels for {self.manifest.classes} outputs"
            )
        if len({label.name for label in labels}) != len(labels):
            raise ContractBroken(self.path / LABELS, "two labels have the same name")
        return labels

    def preprocessing(self) -> Preprocessing:
        """How pictures become the model's input."""
        try:
            return Preprocessing(**self._json(PREPROCESSING))
        except (TypeError, ValueError) as error:
            raise ContractBroken(self.path / PREPROCESSING, str(error)) from None

    def golden(self) -> list[Golden]:
        """The images whose answers are known."""
        document = self._json(GOLDEN)
        folder = GOLDEN.rsplit("/", 1)[0]
        return [
            Golden(
                file=f"{folder}/{entry['file']}",
                data=self.read(f"{folder}/{entry['file']}"),
                probabilities=np.array(entry["probabilities"], dtype=np.float32),
                tolerance=float(document["tolerance"]),
            )
            for entry in document["images"]
        ]

    def _json(self, name: str) -> Any:  # noqa: ANN401  (the callers check its shape)
        return json.loads(self.read(name))


def to_json(document: object) -> bytes:
    """Canonical JSON: sorted keys, one space of indent, UTF-8, a newline at the end."""
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
