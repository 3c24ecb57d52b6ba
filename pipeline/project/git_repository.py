"""Checks that the project is a git repository with a commit, which DVC and the history of pins need."""

import subprocess
from pathlib import Path

from pipeline.errors import RepositoryMissing

INIT, COMMIT = "git init", 'git add -A && git commit -m "Begin"'


def require_repository() -> None:
    """Raises `RepositoryMissing`, with the commands to type, if there is no repository or no commit."""
    _check_git(f"{INIT} && {COMMIT}", "rev-parse", "--git-dir")
    _check_git(COMMIT, "rev-parse", "--verify", "HEAD")


def _check_git(advice: str, *arguments: str) -> None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False, text=True)
    except FileNotFoundError:
        raise RepositoryMissing(Path.cwd(), "git is not installed", f"{INIT} && {COMMIT}") from None
    if done.returncode:
        message = done.stderr.strip().splitlines() or ["git does not say why"]
        raise RepositoryMissing(Path.cwd(), message[0].removeprefix("fatal: "), advice)
