"""The history of `pins/<model>.json` in git.

`rollback_stack` and `was_replaced` decide what may be pinned, so they raise `HistoryShallow` in a shallow
clone: the missing commits could change the result.
"""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CommandFailed, HistoryShallow
from serving.artifact.pin import Pin
from serving.errors import PinInvalid

# Overrides user settings that change what `git log` lists or prints.
GIT_SETTINGS = ("-c", "log.follow=false", "-c", "log.showSignature=false")


@dataclass(frozen=True)
class PinCommit:
    """A commit that changed a pin."""

    commit: str
    date: str
    author: str
    pin: Pin


def history(path: Path) -> list[PinCommit]:
    """The commits that changed a pin, newest first, without those whose pin is invalid.

    Follows first parents: a merge counts as one change to this branch.
    """
    return _pin_commits(path, "--first-parent")


def is_shallow() -> bool:
    """Whether this clone has only the newest commits, as after `git clone --depth`."""
    return _git("rev-parse", "--is-shallow-repository").strip() == b"true"


def was_replaced(path: Path, current: Pin, digest: str) -> bool:
    """Whether this digest was pinned once and then replaced by another one, on any merged branch.

    `HistoryShallow` if the available commits do not show it and others are missing.
    """
    if digest == current.digest:
        return False
    # Without --full-history git omits a merged branch whose last pin equals that of the other branch.
    if any(entry.pin.digest == digest for entry in _pin_commits(path, "--full-history")):
        return True
    if is_shallow():
        raise HistoryShallow(path)
    return False


def rollback_stack(path: Path, current: Pin) -> list[Pin]:
    """The pins that rollback can return to, oldest first, with the current one at the end.

    A return to an earlier version, by rollback or by `git revert`, removes all versions after it.
    """
    if is_shallow():
        raise HistoryShallow(path)
    stack: list[Pin] = []
    for pin in [*(entry.pin for entry in reversed(history(path))), current]:
        digests = [earlier.digest for earlier in stack]
        stack = [*stack[: digests.index(pin.digest)], pin] if pin.digest in digests else [*stack, pin]
    return stack


def is_tracked(path: Path) -> bool:
    """Whether git tracks this file."""
    return bool(_git("ls-files", "--", str(path)))


def is_unmerged(path: Path) -> bool:
    """Whether this file has an unresolved merge conflict."""
    return bool(_git("ls-files", "--unmerged", "--", str(path)))


def _pin_commits(path: Path, order: str) -> list[PinCommit]:
    # -m: also lists merges that were resolved to a pin of neither parent.
    options = ("-m", "--format=%H%x09%cs%x09%an", "--diff-filter=AM")
    log = _git(*GIT_SETTINGS, "log", order, *options, "HEAD", "--", str(path)) if _has_commits() else b""
    commits = []
    for line in log.decode(errors="replace").splitlines():
        commit, date, author = line.split("\t", 2)
        # An invalid pin in an old commit must not prevent a rollback.
        with suppress(PinInvalid):
            pin = Pin.parse(_git("show", f"{commit}:./{path}"), path)
            commits.append(PinCommit(commit, date, author, pin))
    return commits


def _has_commits() -> bool:
    """Whether there is a commit; without one `git log` fails. Raises `CommandFailed` outside a repository."""
    _git("rev-parse", "--git-dir")
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
