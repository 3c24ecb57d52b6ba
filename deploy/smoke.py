"""Starts an image as it is meant to run, and asks it: `python -m deploy.smoke IMAGE PIN`.

Read-only, as nobody, without capabilities. It must get ready, answer the golden images that it holds as they
were recorded, name the pinned digest wherever it names one, and end with 0 on SIGTERM.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin

HARDENED = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),  # noqa: S108
    *("--pids-limit", "256", "--memory", "1g"),
)
PORT = 5000
# A start takes a second; a machine that builds images may be busy.
PATIENCE = 60.0


class SmokeFailed(Exception):
    """The image is not what it should be."""


def docker(*arguments: str) -> str:
    """What a docker command prints; `SmokeFailed` if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SmokeFailed(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def started(image: str, *options: str) -> Iterator[str]:
    """A container of the image; its log is shown if something goes wrong."""
    container = docker("run", "--detach", *HARDENED, *options, image)
    try:
        yield container
    except (SmokeFailed, OSError, HTTPException):
        print(docker("logs", container), file=sys.stderr)
        raise
    finally:
        docker("rm", "--force", container)


def address(container: str) -> str:
    """Where the container answers, seen from this machine."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", form, container) or "127.0.0.1"


def ask(host: str, path: str, body: bytes | None = None) -> Any:  # noqa: ANN401  (JSON)
    """The JSON that it answers; `SmokeFailed` if the status is not 200."""
    connection = HTTPConnection(host, PORT, timeout=10)
    try:
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        document = json.load(response)
    finally:
        connection.close()
    if response.status != 200:
        raise SmokeFailed(f"{path} answers {response.status}: {document}")
    return document


def seconds_until_ready(container: str, host: str) -> float:
    """Waits until /readyz says so; `SmokeFailed` if it does not."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        try:
            ask(host, "/readyz")
            return time.monotonic() - began
        except (OSError, HTTPException, SmokeFailed):
            time.sleep(0.02)
            if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
                raise SmokeFailed("the container ended by itself") from None
    raise SmokeFailed(f"not ready after {PATIENCE:g} s")


def check_label(image: str, pin: Pin) -> None:
    """The image's label names what is pinned."""
    _same(pin, "the label", [label(image, f"model.{key}") for key in ("name", "version", "digest")])


def label(image: str, name: str) -> str | None:
    """What an image says of itself."""
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image)) or {}
    found: str | None = labels.get(name)
    return found


def check_version(host: str, pin: Pin) -> None:
    """/version names what is pinned."""
    version = ask(host, "/version")
    _same(pin, "/version", [version["name"], str(version["version"]), version["digest"]])


def _same(pin: Pin, who: str, told: list[str | None]) -> None:
    if told != [pin.name, str(pin.version), pin.digest]:
        raise SmokeFailed(f"{who} says {told}, the pin {pin}")


def check_golden(container: str, host: str, pin: Pin) -> int:
    """The golden images of the container are answered as recorded; gives how many there are."""
    with tempfile.TemporaryDirectory() as folder:
        docker("cp", f"{container}:/srv/models/{pin.name}/bundle", folder)
        bundle = Bundle.open(Path(folder) / "bundle")
        bundle.verify(whole=False)
        names, golden = [label.name for label in bundle.labels()], bundle.golden_images()
    for image in golden:
        (scores,) = ask(host, f"/predict?top={len(names)}", image.data)["predictions"]
        found = {score["label"]: score["score"] for score in scores}
        difference = max(abs(found[name] - p) for name, p in zip(names, image.probabilities, strict=True))
        if not difference <= image.tolerance + 1e-6:
            raise SmokeFailed(f"{image.file} is answered {difference:.2g} off")
    return len(golden)


def check_end(container: str) -> None:
    """It ends by itself on SIGTERM, with 0."""
    docker("stop", "--time", "60", container)
    code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
    if code != "0":
        raise SmokeFailed(f"it ended with {code}")


def smoke(image: str, pin: Pin, *options: str) -> None:
    """All of it; prints what was found."""
    with started(image, *options) as container:
        host = address(container)
        print(f"ready after {seconds_until_ready(container, host):.2f} s")
        check_label(image, pin)
        check_version(host, pin)
        print(f"digest {pin.digest} in label, /version and pin")
        print(f"{check_golden(container, host, pin)} golden images answered as recorded")
        check_end(container)
        print("SIGTERM: ended with 0")


if __name__ == "__main__":
    try:
        smoke(sys.argv[1], Pin.read(Path(sys.argv[2])), *sys.argv[3:])
    except SmokeFailed as error:
        sys.exit(str(error))
