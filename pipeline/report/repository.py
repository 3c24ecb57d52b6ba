"""What git remembers: commits by name, what lies between them, and files as they were."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit(name: str) -> str | None:
    """The commit that a branch, tag or hash stands for; `None` also where there is no git."""
    return _line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def ancestor(one: str, other: str) -> str | None:
    """The newest commit that both descend from; `None` if the history here does not reach so far."""
    return _line("merge-base", one, other)


def changed(paths: Sequence[str]) -> bool:
    """Has the workspace anything in these places that is not committed?"""
    return bool(_git("status", "--porcelain", "--", *paths))


def touched(path: str, first_parent: bool = False) -> list[str]:
    """The commits that changed a file or folder, newest first.

    `first_parent`: a merge counts as the one commit that it is to the branch it went into.
    """
    options = ["--first-parent"] if first_parent else []
    return (_git("log", "--format=%H", *options, "HEAD", "--", path) or b"").decode().split()


def content(commit: str, path: Path) -> bytes | None:
    """A file as a commit has it; `None` if it has none."""
    return _git("show", f"{commit}:./{path.as_posix()}")


def _line(*arguments: str) -> str | None:
    lines = (_git(*arguments) or b"").decode().split()
    return lines[0] if lines else None


def _git(*arguments: str) -> bytes | None:
    """What git prints; `None` if it says no, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
