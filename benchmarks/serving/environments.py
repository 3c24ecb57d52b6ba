"""Virtual environments in `.bench/`, which git ignores.

There is one for each peer's `requirements.txt`, and one for this server with the Python of its image.
"""

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


# The environment of this server with the Python of its image (Dockerfile), and that Python's version.
IMAGE, IMAGE_PYTHON = "image", "3.13"


def requirements(peer: str) -> Path:
    """The file that lists the packages of an environment."""
    return ROOT / "requirements/serving.txt" if peer == IMAGE else PEERS / peer / "requirements.txt"


def versions(peer: str) -> list[str]:
    """The packages in that file with their versions, without comments and hashes."""
    lines = requirements(peer).read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if line and not line.startswith(("#", "    "))]


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
    wanted = IMAGE_PYTHON if peer == IMAGE else sys.executable
    try:
        run_command([*uv, "venv", "--quiet", "--clear", "--python", wanted, str(folder)])
        install = [*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements(peer))]
        run_command(install, timeout=INSTALL_TIMEOUT)
    except CommandFailed as error:
        raise NotInstalled(requirements(peer), error.reason) from None
