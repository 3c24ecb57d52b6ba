"""Whether the project is a git repository, which DVC and the pins' history need. A zip download is none."""

import subprocess
from pathlib import Path

from pipeline.errors import RepositoryMissing

INIT, COMMIT = "git init", 'git add -A && git commit -m "Begin"'


def require_repository() -> None:
    """Raises `RepositoryMissing`, which says what to type, unless git knows this folder and has a commit."""
    _ask(f"{INIT} && {COMMIT}", "rev-parse", "--git-dir")
    _ask(COMMIT, "rev-parse", "--verify", "HEAD")


def _ask(advice: str, *arguments: str) -> None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False, text=True)
    except FileNotFoundError:
        raise RepositoryMissing(Path.cwd(), "git is not installed", f"{INIT} && {COMMIT}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["git does not say why"]
        raise RepositoryMissing(Path.cwd(), said[0].removeprefix("fatal: "), advice)
