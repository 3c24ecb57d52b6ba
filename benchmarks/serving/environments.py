"""Virtual environments of the peers, one for each `requirements.txt`, in `.bench/`, which git ignores."""

import hashlib
import sys
from pathlib import Path

from benchmarks.commands import run_command
from benchmarks.documents import ROOT
from benchmarks.errors import CommandFailed, NotInstalled

PEERS = Path(__file__).with_name("peers")
CACHE = ROOT / ".bench"
# Seconds for one environment: a package index that does not answer must not hold up the other contenders.
INSTALL_TIMEOUT = 300.0


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
    uv, python = [sys.executable, "-m", "uv"], str(folder / "bin/python")
    try:
        run_command([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        install = [*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements(peer))]
        run_command(install, timeout=INSTALL_TIMEOUT)
    except CommandFailed as error:
        raise NotInstalled(requirements(peer), error.reason) from None
