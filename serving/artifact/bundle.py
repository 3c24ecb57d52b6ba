"""The bundle's format: a folder whose `manifest.json` names every file with its SHA-256.

The digest of a bundle is the SHA-256 of its manifest, so it stands for all of its bytes. Both halves
meet here: `pipeline` writes what this module reads.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from serving.errors import (
    BundleMissing,
    ContractBroken,
    DigestMismatch,
    FileMissing,
    FileUnexpected,
    FileUnreadable,
    ManifestInvalid,
    ModelMismatch,
)
from serving.model.decoder import Preprocessing

FORMAT = 1
MANIFEST = "manifest.json"
GRAPH = "serving/model.onnx"
# Beside an 8-bit graph that is served: the float32 one it was made from, to compare with.
FLOAT_GRAPH = "data/model.onnx"
LABELS = "serving/labels.json"
PREPROCESSING = "serving/preprocessing.json"
GOLDEN = "serving/golden/golden.json"

# The role of the files that answer; a server needs no others.
SERVING = "serving"

# A manifest has about 150 bytes for each file. No graph has more than 2 GiB: ONNX's messages end there.
MANIFEST_BYTES, FILE_BYTES = 2**20, 2**31
# What a golden answer may differ by: export allows 0.005. With much more, another model would pass.
MOST_TOLERANCE = 0.05

# What is in a file's place that is none, by the test that finds it out.
KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}

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

    @property
    def precision(self) -> Literal["int8", "float32"]:
        """What the served graph computes with."""
        return "int8" if FLOAT_GRAPH in self.files else "float32"

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
        # The last one is of an infinite number: 1e400 is JSON.
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ManifestInvalid(path, f"{type(error).__name__}: {error}") from None
        if rewritten != data:
            raise ManifestInvalid(path, f"format {FORMAT} would write it differently")
        if faults := list(manifest._faults()):
            raise ManifestInvalid(path, faults[0])
        return manifest

    def _faults(self) -> Iterator[str]:
        """What no release says, though it is written as releases are."""
        if any(type(side) is not int or side < 1 for side in (*self.input_shape, self.classes)):
            yield f"{[*self.input_shape]} and {self.classes} are no shapes"
        for name, file in self.files.items():
            if not _inside(name):
                yield f"{name!r} is no file inside the bundle"
            if not isinstance(file.role, str) or not isinstance(file.sha256, str):
                yield f"{name} has a role or a SHA-256 that is no text"
            if type(file.size) is not int or not 0 <= file.size <= FILE_BYTES:
                yield f"{name} has {file.size!r} bytes, and 0 to {FILE_BYTES:,} are possible"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Every file is checked as it is read, and before anything parses it.

    `held` are files that are in memory, by name: they are not read from the folder again.
    """

    path: Path
    manifest: Manifest
    digest: str
    held: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the manifest; `BundleMissing` or `ManifestInvalid` if there is no good one."""
        data = read(path / MANIFEST, MANIFEST_BYTES)
        if data is None:
            raise BundleMissing(path)
        return cls(path, Manifest.from_bytes(data, path / MANIFEST), hashlib.sha256(data).hexdigest())

    def in_memory(self) -> Self:
        """The bundle with the files that answer in memory, so that no change of the folder reaches them.

        Raises as `verify` does.
        """
        names = [name for name, file in self.manifest.files.items() if file.role == SERVING]
        bundle = replace(self, held={name: self.read(name) for name in names})
        bundle.verify(whole=False)
        return bundle

    def verify(self, bytecode: bool = True, whole: bool = True) -> None:
        """Reads every file. Raises for one that is changed, missing or not in the manifest.

        `bytecode`: is what Python leaves beside the code of a bundle that it has loaded tolerated?
        `whole`: or may a role other than `serving` be absent, with all of its files?
        """
        present = {
            file.role for name, file in self.manifest.files.items() if os.path.lexists(self.path / name)
        }
        for name, file in self.manifest.files.items():
            if whole or file.role in present | {SERVING}:
                self.read(name)
        known = {*self.manifest.files, MANIFEST, *FOREIGN}
        for found in sorted(_entries(self.path)):
            inside = found.relative_to(self.path)
            if inside.as_posix() not in known and not (bytecode and "__pycache__" in inside.parts):
                raise FileUnexpected(found)

    def check_name(self, model: str) -> None:
        """Raises `ModelMismatch` unless the manifest is of the model that was asked for."""
        if self.manifest.name != model:
            raise ModelMismatch(self.path / MANIFEST, self.manifest.name, model)

    def read(self, name: str) -> bytes:
        """The bytes of a file, after their SHA-256 was found right."""
        if name in self.held:
            return self.held[name]
        path, entry = self.path / name, self.manifest.files.get(name)
        if entry is None:
            raise ManifestInvalid(self.path / MANIFEST, f"it does not name {name}")
        data = read(path, entry.size, exact=True)
        if data is None:
            raise FileMissing(path)
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise DigestMismatch(path, entry.sha256, found)
        return data

    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the model's outputs."""
        with self._contract(LABELS):
            labels = tuple(Label(**entry) for entry in self._json(LABELS))
            if len(labels) != self.manifest.classes:
                raise ValueError(f"{len(labels)} labels for {self.manifest.classes} outputs")
            if not all(isinstance(text, str) and text for label in labels for text in (label.id, label.name)):
                raise ValueError("a label's id and name are texts")
            if len({label.name for label in labels}) != len(labels):
                raise ValueError("two labels have the same name")
        return labels

    def preprocessing(self) -> Preprocessing:
        """How pictures become the model's input."""
        with self._contract(PREPROCESSING):
            return Preprocessing(**self._json(PREPROCESSING))

    def golden(self) -> list[Golden]:
        """The images whose answers are known; there is at least one."""
        folder = GOLDEN.rsplit("/", 1)[0]
        with self._contract(GOLDEN):
            document = self._json(GOLDEN)
            tolerance = document["tolerance"]
            # Not `<`, which does not hold for NaN either; a bool is an int to Python.
            if type(tolerance) not in (int, float) or not 0 <= tolerance <= MOST_TOLERANCE:
                raise ValueError(f"its tolerance is {tolerance!r}, and 0 to {MOST_TOLERANCE} make sense")
            found = [
                Golden(
                    file=f"{folder}/{entry['file']}",
                    data=self.read(f"{folder}/{entry['file']}"),
                    probabilities=_probabilities(entry["probabilities"], self.manifest.classes),
                    tolerance=float(tolerance),
                )
                for entry in document["images"]
            ]
            if not found:
                raise ValueError("it holds no image")
        return found

    @contextmanager
    def _contract(self, name: str) -> Iterator[None]:
        """Says of a file that has the right bytes and the wrong content which one it is."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise ContractBroken(self.path / name, str(error).rstrip(".")) from None

    def _json(self, name: str) -> Any:  # noqa: ANN401  (the callers check its shape)
        return json.loads(self.read(name))


def read(path: Path, most: int, exact: bool = False) -> bytes | None:
    """The bytes of a file, at most `most`, or `exact`ly so many; None if nothing is there.

    Raises `FileUnreadable` for what is no file: nothing waits for what a pipe may have to say, and of a file
    that is too long no byte is read.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            _check(path, os.fstat(file.fileno()), most, exact)
            # One more, for one that grows meanwhile.
            data = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileUnreadable(path, error.strerror or type(error).__name__) from None
    if len(data) > most:
        raise FileUnreadable(path, f"it has more than {most:,} bytes")
    return data


def _opened(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a pipe waits for somebody who writes into it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _check(path: Path, found: os.stat_result, most: int, exact: bool) -> None:
    """Raises an error for what is no file, or of another size than it may have."""
    for test, name in KINDS.items():
        if test(found.st_mode):
            raise FileUnreadable(path, f"it is {name}, and not a file")
    if exact and found.st_size != most:
        raise DigestMismatch(path, f"{most:,} bytes", f"{found.st_size:,}", "size")
    if found.st_size > most:
        raise FileUnreadable(path, f"it has {found.st_size:,} bytes, and {most:,} are allowed")


def _entries(folder: Path) -> Iterator[Path]:
    """All that is below a folder besides folders; links are not followed."""

    def refuse(error: OSError) -> None:
        raise FileUnreadable(Path(error.filename), error.strerror or type(error).__name__) from None

    for root, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from (Path(root, name) for name in (*files, *links))


def _probabilities(numbers: Any, classes: int) -> npt.NDArray[np.float32]:  # noqa: ANN401  (is checked here)
    """An answer as it was recorded, float32 [K]; a `ValueError` if it is none."""
    found = np.array(numbers, dtype=np.float64)
    if found.shape != (classes,):
        raise ValueError(f"an answer has not {classes} probabilities")
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError("an answer has a probability that is not between 0 and 1")
    return found.astype(np.float32)


def _inside(name: str) -> bool:
    """Is it the name of a file below the bundle, written in the one way that `as_posix` would?"""
    path = PurePosixPath(name)
    plain = path.as_posix() == name and "\0" not in name
    return plain and bool(path.name) and ".." not in path.parts and not path.is_absolute()


def to_json(document: object) -> bytes:
    """Canonical JSON: sorted keys, one space of indent, UTF-8, a newline at the end."""
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
