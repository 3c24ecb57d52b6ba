"""A real container image registry on loopback (Debian's package), and a client for it."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving.servers import free_port

# Seconds that a busy machine may take to start the registry.
TIMEOUT = 300.0
CONFIGURATION = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{address}"}}
"""


@dataclass(frozen=True)
class ImageRegistry:
    """A registry at a host and port."""

    address: str

    def tags(self, repository: str) -> list[str]:
        return sorted(self._ask(f"{repository}/tags/list")["tags"])

    def digest(self, repository: str, tag: str) -> str:
        """The digest of the manifest of a tag."""
        request = urllib.request.Request(
            f"http://{self.address}/v2/{repository}/manifests/{tag}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def _ask(self, path: str) -> Any:  # noqa: ANN401  (JSON)
        with urllib.request.urlopen(f"http://{self.address}/v2/{path}", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def image_registry(folder: Path) -> Iterator[ImageRegistry]:
    """Starts a registry that stores its images in a folder."""
    if shutil.which("docker-registry") is None:
        pytest.skip("there is no registry of images: `apt-get install docker-registry`")
    address = f"127.0.0.1:{free_port()}"
    file = folder / "registry.yml"
    file.write_text(CONFIGURATION.format(folder=folder / "images", address=address))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(file)], stdout=log, stderr=log)
    try:
        _wait(address, folder / "log")
        yield ImageRegistry(address)
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def _wait(address: str, log: Path) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text())
