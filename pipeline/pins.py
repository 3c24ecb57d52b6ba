"""Writing `pins/<model>.json`, which promote and rollback do, and its history, which git keeps."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CommandFailed
from pipeline.files import write
from serving.errors import PinInvalid
from serving.pin import Pin


@dataclass(frozen=True)
class Entry:
    """A commit that changed a pin."""

    commit: str
    date: str
    author: str
    pin: Pin


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
