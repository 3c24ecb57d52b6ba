"""A real Docker engine, and a substitute for the base image where no image registry can be reached."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.pipeline.projects import ROOT

# Seconds that a busy machine may take to start the engine.
TIMEOUT = 300.0
# The certificates of this machine: a package index behind a proxy may need them.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STAND_IN = "goldfish-base:stand-in"


def environment() -> dict[str, str]:
    """Puts Debian's docker first on PATH: it contains BuildKit, which other packages have as a plug-in."""
    return os.environ | {"PATH": f"/usr/bin{os.pathsep}{os.environ['PATH']}", "DOCKER_BUILDKIT": "1"}


def docker(*arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a docker command."""
    done = subprocess.run(
        ["docker", *arguments],
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@contextmanager
def engine() -> Iterator[Path]:
    """Uses the running engine or starts one; skips the tests if neither is possible.

    Yields a temporary folder for files of the tests, which is removed afterwards.
    """
    # Not pytest's tmp_path, which is kept after the run: an engine leaves gigabytes.
    temporary = TemporaryDirectory(prefix="goldfish-docker-", ignore_cleanup_errors=True)
    with temporary as name, _running(Path(name)):
        yield Path(name)


@contextmanager
def _running(folder: Path) -> Iterator[None]:
    if shutil.which("docker", path=environment()["PATH"]) is None:
        pytest.skip("there is no docker: `apt-get install docker.io mmdebstrap`")
    if docker("info", check=False).returncode == 0:
        yield
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("no Docker engine answers, and only root can start one")
    address = f"unix://{folder / 'socket'}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                # A mount namespace of its own: mounts that stay would prevent the folder's removal.
                *("unshare", "--mount", "--propagation", "private"),
                *("dockerd", "--host", address, "--data-root", str(folder / "data")),
                *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
            ],
            stdout=log,
            stderr=log,
        )
    os.environ["DOCKER_HOST"] = address
    try:
        if not _answers(process):
            pytest.skip(f"dockerd does not start here: {(folder / 'log').read_text()[-500:]}")
        yield
    finally:
        del os.environ["DOCKER_HOST"]
        process.terminate()
        process.wait(TIMEOUT)


def base_image(folder: Path) -> str:
    """The base image of the Dockerfile, or a substitute where no image registry can be reached."""
    named = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert named is not None
    if docker("pull", "--quiet", named[1], check=False).returncode == 0:
        return named[1]
    return stand_in(folder)


def stand_in(folder: Path) -> str:
    """Builds a base image of Debian packages that resembles the official one: python3, venv, certificates."""
    if docker("image", "inspect", STAND_IN, check=False).returncode == 0:
        return STAND_IN
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("only root can make a base image, with mmdebstrap: `apt-get install mmdebstrap`")
    archive = folder / "root.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    hook = f'--customize-hook=cp {CERTIFICATES} "$1{CERTIFICATES}"'
    options = ("--mode=root", "--variant=minbase", packages, hook)
    command = ["mmdebstrap", *options, _codename(), str(archive), _mirror()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    docker("import", "--change", f"ENV PIP_CERT={CERTIFICATES}", str(archive), STAND_IN)
    archive.unlink()
    return STAND_IN


def _answers(process: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        if docker("info", check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def _codename() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


def _mirror() -> str:
    """The package mirror of this machine."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {_codename()}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if not found:
        pytest.skip("this machine does not know where its packages come from: `apt-get update`")
    return found[0]
