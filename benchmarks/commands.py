"""Runs commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.errors import CommandFailed


def run_command(
    command: Sequence[str],
    folder: Path = ROOT,
    variables: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Returns its output. Raises `CommandFailed` unless it exits with 0, within `timeout` seconds."""
    # pip takes an empty variable as unset; uv rejects it.
    environment = {name: value for name, value in os.environ.items() if value} | dict(variables or {})
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(command, -signal.SIGKILL, f"it took longer than {timeout:g} s") from None
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout


def run_module(module: str, *arguments: object, folder: Path = ROOT) -> str:
    """Returns the output of a module of this project, run in any folder."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return run_command(command, folder, {"PYTHONPATH": str(ROOT)})
