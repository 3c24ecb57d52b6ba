"""Runs and times commands."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.errors import CommandFailed


def run_command(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Returns its output. Raises `CommandFailed` unless it exits with 0."""
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout


def time_command(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> float:
    """Returns the seconds that it takes."""
    began = time.monotonic()
    run_command(command, folder, variables)
    return time.monotonic() - began


def run_module(module: str, *arguments: object, folder: Path = ROOT) -> str:
    """Returns the output of a module of this project."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return run_command(command, folder, {"PYTHONPATH": str(ROOT)})
