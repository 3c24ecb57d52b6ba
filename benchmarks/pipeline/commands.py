"""Commands that are measured: run to their end, and timed from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.pipeline.errors import CommandFailed


def output(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """What it prints; `CommandFailed` with its last words if it ends otherwise than well."""
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout


def seconds(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> float:
    """How long it takes."""
    began = time.monotonic()
    output(command, folder, variables)
    return time.monotonic() - began


def ours(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """A module of this project with its arguments, to be run from any folder."""
    return [sys.executable, "-m", *arguments], {"PYTHONPATH": str(ROOT)}
