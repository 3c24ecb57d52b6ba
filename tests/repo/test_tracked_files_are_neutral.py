"""Tracked files belong to no machine: no address of a registry, no path of a developer, nothing large."""

import subprocess
from pathlib import Path

import pytest

from tests.repo.imports import ROOT

# In pieces, so that this file does not hold what it looks for.
HOSTS = ("pypi org", "files pythonhosted org", "registry npmjs org", "deb debian org")
REGISTRIES = [host.replace(" ", ".") for host in HOSTS]
HOMES = [f"/{folder}/" for folder in ("work", "home", "root", "Users")]
LIMIT = 1_000_000


def tracked() -> list[Path]:
    """The files of the index that are also in the workspace, relative to the root."""
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT)
    return [Path(name) for name in done.stdout.split("\0") if (ROOT / name).is_file()]


FILES = tracked()


def test_there_are_files() -> None:
    assert Path("dvc.yaml") in FILES


@pytest.mark.parametrize("forbidden", REGISTRIES + HOMES)
def test_no_tracked_file_holds(forbidden: str) -> None:
    assert [path for path in FILES if forbidden.encode() in (ROOT / path).read_bytes()] == []


def test_no_tracked_file_is_large() -> None:
    assert [path for path in FILES if (ROOT / path).stat().st_size > LIMIT] == []


def test_lines_end_alike() -> None:
    # Digests are over bytes, whichever system checked them out.
    assert [
        path for path in FILES if path.suffix not in (".png", ".gz") and b"\r" in (ROOT / path).read_bytes()
    ] == []
