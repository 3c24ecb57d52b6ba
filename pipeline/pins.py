"""`pins/<model>.json`: which version is served. Only promote and rollback write it; git keeps its history."""

import json
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import CommandFailed, PinInvalid, PinMissing
from pipeline.files import write
from serving.bundle import to_json


@dataclass(frozen=True)
class Pin:
    """The served version. The digest is its identity; the number is what its registry called it."""

    name: str
    version: int
    digest: str

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Self:
        """Reads a pin; `PinInvalid` for whatever `to_bytes` would not have written."""
        try:
            document = json.loads(data)
            pin = cls(str(document["name"]), int(document["version"]), str(document["digest"]))
        except (ValueError, KeyError, TypeError) as error:
            raise PinInvalid(path, f"{type(error).__name__}: {error}") from None
        if pin.to_bytes() != data:
            raise PinInvalid(path, "its bytes are not those of name, version and digest")
        if pin.name != path.stem or len(pin.digest) != 64 or not set(pin.digest) <= set("0123456789abcdef"):
            raise PinInvalid(path, f"{pin.name!r} with digest {pin.digest!r} is not a version of {path.stem}")
        return pin

    def to_bytes(self) -> bytes:
        return to_json(asdict(self))


@dataclass(frozen=True)
class Entry:
    """A commit that changed a pin."""

    commit: str
    date: str
    author: str
    pin: Pin


def read(path: Path) -> Pin:
    """The pin as it is in the workspace; `PinMissing` when nothing is pinned."""
    try:
        return Pin.parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise PinMissing(
            path, "nothing is pinned yet; `make run` or `python -m pipeline promote` does"
        ) from None


def save(path: Path, pin: Pin) -> None:
    write(path, pin.to_bytes())


def history(path: Path) -> list[Entry]:
    """The commits that changed a pin, newest first; what was no pin is passed over."""
    log = _git("log", "--format=%H%x09%cs%x09%an", "--diff-filter=AM", "--", str(path))
    entries = []
    for line in log.decode().splitlines():
        commit, date, author = line.split("\t", 2)
        # One bad edit of long ago must not keep anybody from going back.
        with suppress(PinInvalid):
            entries.append(Entry(commit, date, author, Pin.parse(_git("show", f"{commit}:./{path}"), path)))
    return entries


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
