"""A bundle on disk or in memory. Every file's SHA-256 is checked when it is read, before it is parsed."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serving.artifact.confidence import Confidence
from serving.artifact.files import list_files, read_file
from serving.artifact.head import Head
from serving.artifact.manifest import (
    CONFIDENCE,
    EXPLANATION,
    GOLDEN,
    HEAD,
    LABELS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PREPROCESSING,
    SERVING,
    Manifest,
    compute_digest,
)
from serving.errors import (
    BundleMissing,
    ContractBroken,
    DigestMismatch,
    FileMissing,
    FileUnexpected,
    ManifestInvalid,
    ModelMismatch,
)
from serving.model.preprocessing import Preprocessing

# The largest tolerance that a bundle may declare for its golden images; export allows 0.005. With a much
# larger one, another model would pass the check.
MAX_TOLERANCE = 0.05

# What is added to the graph for explanations: two or three nodes, which take less than 200 bytes.
MAX_EXPLANATION_BYTES = 2**16

# MLflow adds this file when it downloads a model; it is not part of the bundle.
MLFLOW_EXTRA_FILES = frozenset({"registered_model_meta"})


@dataclass(frozen=True)
class Label:
    """One class: `name` is unique among the labels, `id` is the data set's identifier."""

    id: str
    name: str


@dataclass(frozen=True)
class GoldenImage:
    """An encoded image and the probabilities (float32 [K]) that were recorded for it."""

    file: str
    data: bytes
    probabilities: npt.NDArray[np.float32]
    tolerance: float


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    `cached_files` are file contents in memory, by name; they are not read from the folder again.
    """

    path: Path
    manifest: Manifest
    digest: str
    cached_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the manifest alone. Raises `BundleMissing` or `ManifestInvalid`."""
        data = read_file(path / MANIFEST, MAX_MANIFEST_BYTES)
        if data is None:
            raise BundleMissing(path)
        return cls(path, Manifest.from_bytes(data, path / MANIFEST), compute_digest(data))

    def load_serving_files(self) -> Self:
        """The verified bundle with its serving files in memory, independent of later changes to the folder.

        Raises as `verify` does.
        """
        names = [name for name, file in self.manifest.files.items() if file.role == SERVING]
        bundle = replace(self, cached_files={name: self.read(name) for name in names})
        bundle.verify(whole=False)
        return bundle

    def verify(self, allow_bytecode: bool = True, whole: bool = True) -> None:
        """Reads every file. Raises for one that is changed, missing or not in the manifest.

        `allow_bytecode`: ignore `__pycache__`, which Python writes when it imports the bundle's code.
        `whole`: require all roles. Otherwise a role other than `serving` may be absent with all of its files.
        """
        present = {
            file.role for name, file in self.manifest.files.items() if os.path.lexists(self.path / name)
        }
        for name, file in self.manifest.files.items():
            if whole or file.role in present | {SERVING}:
                self.read(name)
        known = {*self.manifest.files, MANIFEST, *MLFLOW_EXTRA_FILES}
        for path in sorted(list_files(self.path)):
            relative = path.relative_to(self.path)
            if relative.as_posix() not in known and not (allow_bytecode and "__pycache__" in relative.parts):
                raise FileUnexpected(path)

    def check_name(self, model: str) -> None:
        """Raises `ModelMismatch` unless the manifest names this model."""
        if self.manifest.name != model:
            raise ModelMismatch(self.path / MANIFEST, self.manifest.name, model)

    def read(self, name: str) -> bytes:
        """The bytes of a file, after its SHA-256 was checked."""
        if name in self.cached_files:
            return self.cached_files[name]
        path, entry = self.path / name, self.manifest.files.get(name)
        if entry is None:
            raise ManifestInvalid(self.path / MANIFEST, f"it does not name {name}")
        data = read_file(path, entry.size, exact=True)
        if data is None:
            raise FileMissing(path)
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise DigestMismatch(path, entry.sha256, digest)
        return data

    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the model's outputs."""
        with self._reporting_file(LABELS):
            labels = tuple(Label(**entry) for entry in self._read_json(LABELS))
            if len(labels) != self.manifest.classes:
                raise ValueError(f"{len(labels)} labels for {self.manifest.classes} outputs")
            if not all(isinstance(text, str) and text for label in labels for text in (label.id, label.name)):
                raise ValueError("a label's id and name must be strings")
            if len({label.name for label in labels}) != len(labels):
                raise ValueError("two labels have the same name")
        return labels

    def preprocessing(self) -> Preprocessing:
        """The parameters that turn an image into the model's input."""
        with self._reporting_file(PREPROCESSING):
            return Preprocessing.from_json(self._read_json(PREPROCESSING), self.manifest.format)

    def confidence(self) -> Confidence | None:
        """What was measured about the probabilities; None if the bundle does not have it."""
        if not self._has(CONFIDENCE):
            return None
        with self._reporting_file(CONFIDENCE):
            confidence = Confidence.from_json(self._read_json(CONFIDENCE), self.manifest.classes)
            if confidence.energy is not None and not self.manifest.energy:
                raise ValueError("it has a threshold for the energy, and the graph has no such output")
        return confidence

    def explanation(self) -> bytes | None:
        """What is added to the served graph for its output `features`; None if the bundle has none."""
        if not self._has(EXPLANATION):
            return None
        with self._reporting_file(EXPLANATION):
            if not self._has(HEAD):
                raise ValueError(f"it needs {HEAD}, which is missing")
            if (size := self.manifest.files[EXPLANATION].size) > MAX_EXPLANATION_BYTES:
                raise ValueError(f"it has {size:,} bytes, and {MAX_EXPLANATION_BYTES:,} are allowed")
            return self.read(EXPLANATION)

    def head(self, features: int) -> Head:
        """The weights of the last layer, for this number of features."""
        with self._reporting_file(HEAD):
            return Head.from_bytes(self.read(HEAD), features, self.manifest.classes)

    def _has(self, name: str) -> bool:
        """Has the bundle this optional file of format 2?"""
        return self.manifest.format > 1 and name in self.manifest.files

    def golden_images(self) -> list[GoldenImage]:
        """The images with recorded probabilities, at least one."""
        folder = GOLDEN.rsplit("/", 1)[0]
        with self._reporting_file(GOLDEN):
            document = self._read_json(GOLDEN)
            tolerance = document["tolerance"]
            # `not 0 <= x <= MAX` also rejects NaN. `type` rather than isinstance: bool is a subclass of int.
            if type(tolerance) not in (int, float) or not 0 <= tolerance <= MAX_TOLERANCE:
                raise ValueError(f"its tolerance is {tolerance!r}, and 0 to {MAX_TOLERANCE} make sense")
            images = [
                GoldenImage(
                    file=f"{folder}/{entry['file']}",
                    data=self.read(f"{folder}/{entry['file']}"),
                    probabilities=_parse_probabilities(entry["probabilities"], self.manifest.classes),
                    tolerance=float(tolerance),
                )
                for entry in document["images"]
            ]
            if not images:
                raise ValueError("it holds no image")
        return images

    @contextmanager
    def _reporting_file(self, name: str) -> Iterator[None]:
        """Turns errors in the content of a file with the right SHA-256 into `ContractBroken`."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise ContractBroken(self.path / name, str(error).rstrip(".")) from None

    def _read_json(self, name: str) -> Any:  # noqa: ANN401  (the callers check its shape)
        return json.loads(self.read(name))


def _parse_probabilities(numbers: Any, classes: int) -> npt.NDArray[np.float32]:  # noqa: ANN401  (checked here)
    """Recorded probabilities as float32 [K]. Raises `ValueError` for any other shape or range."""
    probabilities = np.array(numbers, dtype=np.float64)
    if probabilities.shape != (classes,):
        raise ValueError(f"a golden image does not have {classes} probabilities")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a golden image has a probability that is not between 0 and 1")
    return probabilities.astype(np.float32)
