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
# The name of the environment of this server with the Python of its image (Dockerfile), and its version.
IMAGE, IMAGE_PYTHON = "image", "3.13"


def requirements(name: str) -> Path:
    """The file that lists the packages of an environment."""
    return ROOT / "requirements/serving.txt" if name == IMAGE else PEERS / name / "requirements.txt"


def versions(name: str) -> list[str]:
    """The packages in that file with their versions, without comments and hashes."""
    lines = requirements(name).read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if line and not line.startswith(("#", "    "))]


def bin_folder(name: str) -> Path:
    """The folder of an environment's executables; creates it if it is missing or out of date."""
    folder, wanted = CACHE / name, hashlib.sha256(requirements(name).read_bytes()).hexdigest()
    # Written last: an interrupted installation leaves a Python behind, but no mark.
    mark = folder / ".installed"
    if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
        _create(name, folder)
        mark.write_text(wanted, encoding="ascii")
    return folder / "bin"


def _create(name: str, folder: Path) -> None:
    uv, python = [sys.executable, "-m", "uv"], str(folder / "bin/python")
    interpreter = IMAGE_PYTHON if name == IMAGE else sys.executable
    try:
        run_command([*uv, "venv", "--quiet", "--clear", "--python", interpreter, str(folder)])
        install = [*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements(name))]
        run_command(install, timeout=INSTALL_TIMEOUT)
    except CommandFailed as error:
        raise NotInstalled(requirements(name), error.reason) from None
