"""Read-only git queries: resolve and list commits, read files at a commit."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def resolve(name: str) -> str | None:
    """The hash of the commit that a branch, tag or hash names; `None` if there is none, or no git."""
    return _first_word("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def merge_base(one: str, other: str) -> str | None:
    """The newest common ancestor; `None` if the local history does not contain one."""
    return _first_word("merge-base", one, other)


def has_changes(paths: Sequence[str]) -> bool:
    """Whether the workspace has uncommitted changes in these paths."""
    return bool(_git("status", "--porcelain", "--", *paths))


def commits_changing(path: str, first_parent: bool = False) -> list[str]:
    """The commits that changed a file or folder, newest first; with `first_parent` a merge is one commit."""
    options = ["--first-parent"] if first_parent else []
    return (_git("log", "--format=%H", *options, "HEAD", "--", path) or b"").decode().split()


def read_file(commit: str, path: Path) -> bytes | None:
    """A file's bytes at a commit; `None` if it is not there."""
    return _git("show", f"{commit}:./{path.as_posix()}")


def _first_word(*arguments: str) -> str | None:
    words = (_git(*arguments) or b"").decode().split()
    return words[0] if words else None


def _git(*arguments: str) -> bytes | None:
    """The output of a git command; `None` if it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
