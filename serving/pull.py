"""Pulls the pinned version from the MLflow registry: `python -m serving.pull [MODEL] [--to DIR] [--whole]`.

Reads `pins/<model>.json` and the registry.
Writes `models/<model>/pulled/<digest>/`, whole or not at all, and no byte that the pin does not vouch for.

    ServingError
    └── DestinationTaken  destination_taken
"""

import argparse
import fcntl
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TextIO

from serving.artifact.bundle import GRAPH, MANIFEST, MANIFEST_BYTES, SERVING, Bundle, File, Manifest
from serving.artifact.pin import Pin
from serving.artifact.registry import NOBODY, Credentials, Version, find
from serving.config import Settings
from serving.errors import BundleError, ModelMismatch, ServingError

# In the hidden folder of a pull: the bundle that is coming, and the one whose place it takes.
NEW, OLD = "new", "old"


class DestinationTaken(ServingError):
    """Somebody's files are where the bundle should go, and a mistyped `--to` must not delete them."""

    code = "destination_taken"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} holds something that is no bundle: remove it, or pull to another folder.")


def pull(
    pin: Pin,
    tracking_uri: str,
    destination: Path,
    whole: bool = False,
    credentials: Credentials = NOBODY,
    log: TextIO | None = None,
) -> Path:
    """Puts the pinned bundle at `destination`: its serving files, or all if `whole`. Tells `log` about it.

    Downloads nothing if it is there. Another or a damaged bundle is replaced once the new one is complete.
    Raises a `ServingError`, or an `OSError` if the disk is full or may not be written.
    """
    # Not Path.resolve, which makes an error of its own of a link to itself.
    folder = Path(os.path.realpath(destination))
    _clean(folder)
    if _holds(folder, pin.digest, whole):
        _tell(log, f"{pin.name} {pin.digest[:12]} is there already")
        return destination
    _refuse_strangers(folder)
    version = find(pin.name, pin.digest, tracking_uri, credentials)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _workspace(folder) as workspace:
        _download(version, pin.digest, workspace / NEW, whole, log)
        with _alone(folder.parent):
            # Another process may have been faster, and its bundle may be in use.
            if not _holds(folder, pin.digest, whole):
                _replace(folder, workspace / NEW, workspace / OLD)
    return destination


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, because only within one file system can a folder be renamed.

    It is locked while this process lives. A lock ends with its process, however that ends.
    """
    name, held = "", None
    try:
        while held is None:
            name = mkdtemp(prefix=_prefix(folder), dir=folder.parent)
            # Another pull may have taken it for a leftover before it was locked, and removed it.
            with suppress(FileNotFoundError):
                held = _locked(Path(name), fcntl.LOCK_EX)
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        if held is not None:
            os.close(held)


def _clean(folder: Path) -> None:
    """Removes what killed pulls to `folder` have left; a bundle that one had put aside goes back."""
    for leftover in folder.parent.glob(f"{glob.escape(_prefix(folder))}*"):
        with suppress(OSError):
            held = _locked(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held is None:
                continue
            with suppress(OSError):
                if not os.path.lexists(folder):
                    (leftover / OLD).rename(folder)
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(held)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.pulling-"


def _locked(folder: Path, how: int) -> int | None:
    """A descriptor that locks a folder; None if that is gone. An `OSError` if another process has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, how)
    except OSError:
        # NFS locks no folder. A pull goes on without; nobody there knows then what is in use.
        if how & fcntl.LOCK_NB:
            os.close(handle)
            raise
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
    os.close(handle)
    return None


def _holds(folder: Path, digest: str, whole: bool) -> bool:
    """Is the bundle there, with every byte that is asked for?"""
    try:
        bundle = Bundle.open(folder)
        if bundle.digest == digest:
            bundle.verify(whole=whole)
    except (BundleError, OSError):
        return False
    return bundle.digest == digest


def _refuse_strangers(folder: Path) -> None:
    """Raises `DestinationTaken` unless nothing is there, or an empty folder, or what was a bundle."""
    bundle = (folder / MANIFEST).exists() or (folder / GRAPH).exists()
    if folder.exists() and not bundle and not (folder.is_dir() and not any(folder.iterdir())):
        raise DestinationTaken(folder)


def _download(version: Version, digest: str, folder: Path, whole: bool, log: TextIO | None) -> None:
    """Writes the files of a version into a new folder, each after its SHA-256 was found right."""
    data = version.read(MANIFEST, digest, MANIFEST_BYTES, lambda _: None)
    manifest = Manifest.from_bytes(data, Path(MANIFEST))
    if manifest.name != version.name:
        raise ModelMismatch(Path(MANIFEST), manifest.name, version.name)
    files = {name: file for name, file in manifest.files.items() if whole or file.role == SERVING}
    with _Meter.running(version, files, log) as meter:
        for name, file in files.items():
            _write(folder / name, version.read(name, file.sha256, file.size, meter.tick))
            meter.done += file.size
    _write(folder / MANIFEST, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is renaming something into a folder, and keeps them out meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # NFS locks no folder. Without, two pulls that replace a bundle may miss it for a moment.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, fresh: Path, old: Path) -> None:
    """Puts a folder in the place of another one, which stays if that fails."""
    try:
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    # Ctrl-C too: what was there goes back, whatever came between the two renames.
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


@dataclass
class _Meter:
    """Says what is pulled, and on a terminal how much of it has come."""

    log: TextIO | None
    total: int
    done: int = 0
    percent: int = -1

    @classmethod
    @contextmanager
    def running(cls, version: Version, files: dict[str, File], log: TextIO | None) -> Iterator["_Meter"]:
        total = sum(file.size for file in files.values())
        _tell(log, f"pulling {version}: {total:,} bytes in {len(files)} files")
        meter = cls(log, total)
        try:
            yield meter
        finally:
            if log is not None and meter.percent >= 0:
                print(file=log)

    def tick(self, more: int) -> None:
        """`more` bytes have come of the file that is being read."""
        percent = min(100, 100 * (self.done + more) // max(1, self.total))
        if self.log is not None and self.log.isatty() and percent != self.percent:
            self.percent = percent
            print(f"\r{percent:3} %", end="", file=self.log, flush=True)


def _tell(log: TextIO | None, line: str) -> None:
    if log is not None:
        print(line, file=log)


def place(models: Path, pin: Pin) -> Path:
    """Where a pulled bundle goes unless somebody says otherwise: beside the one that the pipeline builds."""
    return models / pin.name / "pulled" / pin.digest[:12]


def main(arguments: list[str] | None = None) -> int:
    """The command: prints the bundle's path, or one sentence on stderr; gives the exit code."""
    try:
        settings = Settings.read()
        options = _parser(settings).parse_args(arguments)
        pin = Pin.read(options.pins / f"{options.model}.json")
        to = options.to or place(settings.models, pin)
        print(pull(pin, options.registry, to, options.whole, settings.credentials, sys.stderr))
    except (ServingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was there before is still whole", file=sys.stderr)
        return 130
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.pull", description="Pulls the pinned version.")
    parser.add_argument("model", nargs="?", default=settings.model, help="default: %(default)s")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: models/<model>/pulled/<digest>")
    parser.add_argument("--whole", action="store_true", help="also what only the pipeline needs")
    parser.add_argument(
        "--pins", type=Path, default=settings.pins, metavar="DIR", help="default: %(default)s"
    )
    # The default is not shown, it may hold a password.
    parser.add_argument(
        "--registry", default=settings.registry, metavar="URI", help="sqlite:///path or http(s)://..."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
