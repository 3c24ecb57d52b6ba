"""A workspace with a pinned model, and runs of `python -m scoring` in it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from tests.repo.imports import ROOT
from tests.serving.bundles import one_colour_png
from tests.serving.servers import publish

TIMEOUT_S = 120
# A file with this name kills the process that opens it, as a fault in a decoder would.
KILLER = "killer.png"
KILLER_CODE = f"""
import os, signal, sys

def kill(event, arguments):
    if event == "open" and str(arguments[0]).endswith({KILLER!r}):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
"""


def make_workspace(folder: Path) -> Path:
    """A workspace with the model `colours`."""
    publish(folder)
    return folder


def environment() -> dict[str, str]:
    """That of a run: it finds the code from any folder."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def with_killer(folder: Path) -> dict[str, str]:
    """The same, for a run that is killed when it opens `KILLER`."""
    (folder / "sitecustomize.py").write_text(KILLER_CODE)
    return environment() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def start(
    workspace: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Starts a run of the model `colours`."""
    command = [sys.executable, "-m", "scoring", "colours", *arguments]
    return subprocess.Popen(
        command,
        cwd=workspace,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Shells start what is to run in the background with Ctrl-C ignored, and programs inherit that.
        preexec_fn=_allow_interrupts,
    )


def _allow_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def score(
    workspace: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """A finished run; the test looks at its exit code."""
    command = [sys.executable, "-m", "scoring", "colours", *arguments]
    done = subprocess.run(
        command, cwd=workspace, env=env or environment(), input=stdin, capture_output=True, timeout=TIMEOUT_S
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of all parts, in order."""
    return [
        row for part in sorted(out.glob("part-*.parquet")) for row in parquet.read_table(part).to_pylist()
    ]


def files(out: Path) -> dict[str, bytes]:
    """All files of a result, also hidden ones."""
    return {path.name: path.read_bytes() for path in out.iterdir()}


def write_colours(folder: Path, count: int) -> Path:
    """Small images of different colours, in folders of a thousand."""
    random = np.random.default_rng(1)
    for number, (red, green, blue) in enumerate(random.integers(0, 256, (count, 3))):
        path = folder / f"{number // 1000}/{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one_colour_png((int(red), int(green), int(blue))))
    return folder
