"""The peers' environments: one for each, from a list of exact versions, in a folder that git ignores."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving.errors import NotInstalled

PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".bench"
# TensorFlow over a slow line.
PATIENCE = 600


def requirements(peer: str) -> Path:
    """The list of what a peer needs."""
    return PEERS / peer / "requirements.txt"


def versions(peer: str) -> list[str]:
    """What that list says, without its comments."""
    lines = requirements(peer).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def programs(peer: str) -> Path:
    """The folder of a peer's programs; makes its environment if it is not there, or not from this list."""
    folder, wanted = CACHE / peer, hashlib.sha256(requirements(peer).read_bytes()).hexdigest()
    # A mark, for an environment that broke off while it was made has a python too.
    mark = folder / ".installed"
    if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
        _make(peer, folder)
        mark.write_text(wanted, encoding="ascii")
    return folder / "bin"


def _make(peer: str, folder: Path) -> None:
    """Fills a new environment with this Python; `NotInstalled` with the installer's reason."""
    uv = [sys.executable, "-m", "uv"]
    python = str(folder / "bin/python")
    _run(peer, [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run(peer, [*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements(peer))])


def _run(peer: str, command: list[str]) -> None:
    # An empty variable means none to pip, and is an error to uv.
    environment = {name: value for name, value in os.environ.items() if value}
    try:
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise NotInstalled(requirements(peer), f"it took more than {PATIENCE} s") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalled(requirements(peer), " ".join(error.stderr.split())[-300:]) from None
