"""Virtual environments of the peers, one for each `requirements.txt`, in `.bench/`, which git ignores."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.errors import QUOTED, NotInstalled

PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".bench"
# Seconds; enough to download TensorFlow over a slow network.
INSTALL_TIMEOUT = 600


def requirements(peer: str) -> Path:
    """The file that lists a peer's packages."""
    return PEERS / peer / "requirements.txt"


def versions(peer: str) -> list[str]:
    """The lines of that file, without comments."""
    lines = requirements(peer).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def bin_folder(peer: str) -> Path:
    """The folder of a peer's executables; creates its environment if it is missing or out of date."""
    folder, wanted = CACHE / peer, hashlib.sha256(requirements(peer).read_bytes()).hexdigest()
    # Written last: an interrupted installation leaves a Python behind, but no mark.
    mark = folder / ".installed"
    if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
        _create(peer, folder)
        mark.write_text(wanted, encoding="ascii")
    return folder / "bin"


def _create(peer: str, folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    python = str(folder / "bin/python")
    _run(peer, [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run(peer, [*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements(peer))])


def _run(peer: str, command: list[str]) -> None:
    # pip takes an empty variable as unset; uv rejects it.
    environment = {name: value for name, value in os.environ.items() if value}
    try:
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(requirements(peer), f"it took more than {INSTALL_TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalled(requirements(peer), " ".join(error.stderr.split())[-QUOTED:]) from None
