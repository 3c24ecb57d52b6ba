"""Pulls the pinned bundle from the MLflow registry into a folder, completely or not at all.

ServingError
└── DestinationTaken  destination_taken
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

from serving.artifact.atomic_folder import (
    NEW,
    exclusive_lock,
    remove_leftovers,
    replace_folder,
    temporary_folder,
)
from serving.artifact.bundle import Bundle
from serving.artifact.files import write_file
from serving.artifact.manifest import GRAPH, MANIFEST, MAX_MANIFEST_BYTES, SERVING, Manifest, ManifestFile
from serving.artifact.pin import Pin
from serving.artifact.registry.address import NO_CREDENTIALS, Credentials
from serving.artifact.registry.version import RegisteredVersion, find_version
from serving.errors import BundleError, ModelMismatch, ServingError


class DestinationTaken(ServingError):
    """Other files are at the destination; a mistyped `--to` must not delete them."""

    code = "destination_taken"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} holds something that is no bundle: remove it, or pull to another folder.")


def default_destination(models: Path, pin: Pin) -> Path:
    """Where a pulled bundle is put by default: beside the one that the pipeline builds."""
    return models / pin.name / "pulled" / pin.digest[:12]


def pull_bundle(
    pin: Pin,
    tracking_uri: str,
    destination: Path,
    whole: bool = False,
    credentials: Credentials = NO_CREDENTIALS,
    log: TextIO | None = None,
    accept: Callable[[Bundle], object] = lambda _: None,
) -> Path:
    """Puts the pinned bundle at `destination`: its serving files, or all of them if `whole`.

    Downloads nothing if it is already there. Another or a damaged bundle is replaced once the new one is
    complete. Progress goes to `log`. `accept` gets the bundle when only its manifest has been downloaded, and
    raises a `ServingError` to refuse it. Raises a `ServingError`, or an `OSError` if the disk is full or
    cannot be written.
    """
    # Not Path.resolve, which raises an error for a link to itself.
    folder = Path(os.path.realpath(destination))
    remove_leftovers(folder)
    if _is_complete(folder, pin.digest, whole):
        accept(Bundle.open(folder))
        _print(log, f"{pin.name} {pin.digest[:12]} is there already")
        return destination
    _check_replaceable(folder)
    version = find_version(pin.name, pin.digest, tracking_uri, credentials)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as temporary:
        _download(version, pin.digest, temporary / NEW, whole, log, accept)
        with exclusive_lock(folder.parent):
            # Another process may have pulled it meanwhile, and its bundle may be in use.
            if not _is_complete(folder, pin.digest, whole):
                replace_folder(folder, temporary)
    return destination


def _is_complete(folder: Path, digest: str, whole: bool) -> bool:
    """Does the folder hold the bundle with this digest, with every required byte?"""
    try:
        bundle = Bundle.open(folder)
        if bundle.digest == digest:
            bundle.verify(whole=whole)
    except (BundleError, OSError):
        return False
    return bundle.digest == digest


def _check_replaceable(folder: Path) -> None:
    """Raises `DestinationTaken` unless the folder is missing, empty, or holds (parts of) a bundle."""
    is_bundle = (folder / MANIFEST).exists() or (folder / GRAPH).exists()
    if folder.exists() and not is_bundle and not (folder.is_dir() and not any(folder.iterdir())):
        raise DestinationTaken(folder)


def _download(
    version: RegisteredVersion,
    digest: str,
    folder: Path,
    whole: bool,
    log: TextIO | None,
    accept: Callable[[Bundle], object],
) -> None:
    """Writes the files of a version into a new folder, each after its SHA-256 was checked."""
    data = version.read(MANIFEST, digest, MAX_MANIFEST_BYTES, lambda _: None)
    manifest = Manifest.from_bytes(data, Path(MANIFEST))
    if manifest.name != version.name:
        raise ModelMismatch(Path(MANIFEST), manifest.name, version.name)
    accept(Bundle(folder, manifest, digest))
    files = {name: file for name, file in manifest.files.items() if whole or file.role == SERVING}
    with _Progress.shown(version, files, log) as progress:
        for name, file in files.items():
            write_file(folder / name, version.read(name, file.sha256, file.size, progress.update))
            progress.finished += file.size
    write_file(folder / MANIFEST, data)


@dataclass
class _Progress:
    """Prints what is downloaded and, on a terminal, the percentage received."""

    log: TextIO | None
    total: int
    finished: int = 0
    percent: int = -1

    @classmethod
    @contextmanager
    def shown(
        cls, version: RegisteredVersion, files: dict[str, ManifestFile], log: TextIO | None
    ) -> Iterator[Self]:
        total = sum(file.size for file in files.values())
        _print(log, f"pulling {version}: {total:,} bytes in {len(files)} files")
        progress = cls(log, total)
        try:
            yield progress
        finally:
            if log is not None and progress.percent >= 0:
                print(file=log)

    def update(self, received: int) -> None:
        """Called with the bytes received of the current file."""
        percent = min(100, 100 * (self.finished + received) // max(1, self.total))
        if self.log is not None and self.log.isatty() and percent != self.percent:
            self.percent = percent
            print(f"\r{percent:3} %", end="", file=self.log, flush=True)


def _print(log: TextIO | None, line: str) -> None:
    if log is not None:
        print(line, file=log)
