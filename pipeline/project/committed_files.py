"""Compares the files of a working tree with those of its commit."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CommandFailed
from pipeline.project.file_differences import describe_difference


@dataclass(frozen=True)
class FileDifference:
    """A file that is not as expected, and how it differs."""

    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.name}: {self.how}"


def differences_from_commit(folder: Path, *paths: str) -> Iterator[FileDifference]:
    """The changed, missing and new files below `paths` of a working tree, compared with HEAD."""
    changed = git(folder, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", *paths)
    new = git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
    for name in sorted({*changed.decode().split("\0"), *new.decode().split("\0")} - {""}):
        path = folder / name
        expected = None if name in new.decode().split("\0") else git(folder, "show", f"HEAD:./{name}")
        how = describe_difference(name, expected, path.read_bytes() if path.is_file() else None)
        yield FileDifference(name, how or "has other permissions")


def differences_of_folders(expected: Path, found: Path, title: str) -> Iterator[FileDifference]:
    """The files that differ between two folders; `title` is the folder's name in the result."""
    names = {
        path.relative_to(root) for root in (expected, found) for path in root.rglob("*") if path.is_file()
    }
    for name in sorted(names):
        bytes_of = [path.read_bytes() if path.is_file() else None for path in (expected / name, found / name)]
        if how := describe_difference(name.name, *bytes_of):
            yield FileDifference(f"{title}/{name.as_posix()}", how)


def git(folder: Path, *arguments: str) -> bytes:
    """The output of a git command in a folder; `CommandFailed` if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
