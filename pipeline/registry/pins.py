"""Writing `pins/<model>.json`, which promote and rollback do, and its history, which git keeps.

`lineage` and `replaced` are what a decision may rest on: in a shallow clone they refuse, for the part of the
history that is not there may say the opposite.
"""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CommandFailed, HistoryShallow
from pipeline.files import write
from serving.artifact.pin import Pin
from serving.errors import PinInvalid

# Settings of the user's that would change what `git log` lists or prints.
PLAIN = ("-c", "log.follow=false", "-c", "log.showSignature=false")


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
    """The commits that changed a pin, newest first; what was no pin is passed over.

    On the line of first parents: a merge counts as the one change that it was to this branch.
    """
    return _entries(path, "--first-parent")


def is_shallow() -> bool:
    """Has this clone only the newest commits, as `git clone --depth` makes it?"""
    return _git("rev-parse", "--is-shallow-repository").strip() == b"true"


def replaced(path: Path, current: Pin, digest: str) -> bool:
    """Was this digest pinned once and then replaced by another one, on any branch that led here?

    `HistoryShallow` if the commits that are here do not say so, and others are missing.
    """
    if digest == current.digest:
        return False
    # Without --full-history git leaves out a branch whose pin ended as the other branch had it.
    if any(entry.pin.digest == digest for entry in _entries(path, "--full-history")):
        return True
    if is_shallow():
        raise HistoryShallow(path)
    return False


def lineage(path: Path, current: Pin) -> list[Pin]:
    """The versions that one can go back to, oldest first, with the current one at the end.

    A return to an earlier version, by rollback or by `git revert`, withdraws all that came after it.
    """
    if is_shallow():
        raise HistoryShallow(path)
    line: list[Pin] = []
    for pin in [*(entry.pin for entry in reversed(history(path))), current]:
        digests = [earlier.digest for earlier in line]
        line = [*line[: digests.index(pin.digest)], pin] if pin.digest in digests else [*line, pin]
    return line


def _entries(path: Path, order: str) -> list[Entry]:
    # -m: a merge that was resolved to a pin of its own is shown too.
    options = ("-m", "--format=%H%x09%cs%x09%an", "--diff-filter=AM")
    log = _git(*PLAIN, "log", order, *options, "HEAD", "--", str(path)) if _has_commits() else b""
    entries = []
    for line in log.decode(errors="replace").splitlines():
        commit, date, author = line.split("\t", 2)
        # One bad edit of long ago must not keep anybody from going back.
        with suppress(PinInvalid):
            entries.append(Entry(commit, date, author, Pin.parse(_git("show", f"{commit}:./{path}"), path)))
    return entries


def is_tracked(path: Path) -> bool:
    """Does git expect this file here?"""
    return bool(_git("ls-files", "--", str(path)))


def is_unmerged(path: Path) -> bool:
    """Has a merge left this file for somebody to decide?"""
    return bool(_git("ls-files", "--unmerged", "--", str(path)))


def _has_commits() -> bool:
    """In a repository that was only just created, `git log` is an error."""
    _git("rev-parse", "--git-dir")
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
