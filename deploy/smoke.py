"""Smoke test of the container image, started as in production: `python -m deploy.smoke IMAGE PIN`.

The container is read-only, unprivileged and without capabilities. It must become ready, give the recorded
predictions for its golden images, report the pinned digest in label and /version, and exit with 0 on SIGTERM.
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
# A start takes a second, but the machine may be busy building images.
READY_TIMEOUT_SECONDS = 60.0


class SmokeFailed(Exception):
    """A check of the image failed."""


def docker(*arguments: str) -> str:
    """Runs a docker command and returns its output; raises `SmokeFailed` if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SmokeFailed(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def running_container(image: str, *options: str) -> Iterator[str]:
    """Runs a container for the duration of the block; prints its log if a check fails."""
    container = docker("run", "--detach", *HARDENED, *options, image)
    try:
        yield container
    except (SmokeFailed, OSError, HTTPException):
        print(docker("logs", container), file=sys.stderr)
        raise
    finally:
        docker("rm", "--force", container)


def container_address(container: str) -> str:
    """The container's IP address; 127.0.0.1 if it uses the host's network."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", template, container) or "127.0.0.1"


def request_json(host: str, path: str, body: bytes | None = None) -> Any:  # noqa: ANN401  (JSON)
    """The JSON of the response to a GET, or a POST with a body; `SmokeFailed` unless the status is 200."""
    connection = HTTPConnection(host, PORT, timeout=10)
    try:
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        document = json.load(response)
    finally:
        connection.close()
    if response.status != 200:
        raise SmokeFailed(f"{path} responded with {response.status}: {document}")
    return document


def wait_until_ready(container: str, host: str) -> float:
    """Waits for /readyz and returns the seconds; `SmokeFailed` on timeout or if the container exits."""
    start = time.monotonic()
    while time.monotonic() - start < READY_TIMEOUT_SECONDS:
        try:
            request_json(host, "/readyz")
            return time.monotonic() - start
        except (OSError, HTTPException, SmokeFailed):
            time.sleep(0.02)
            if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
                raise SmokeFailed("the container exited before it was ready") from None
    raise SmokeFailed(f"not ready after {READY_TIMEOUT_SECONDS:g} s")


def check_label(image: str, pin: Pin) -> None:
    """Checks that the image's labels have the pinned name, version and digest."""
    _compare(pin, "the label", [image_label(image, f"model.{key}") for key in ("name", "version", "digest")])


def image_label(image: str, name: str) -> str | None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image)) or {}
    value: str | None = labels.get(name)
    return value


def check_version(host: str, pin: Pin) -> None:
    """Checks that /version has the pinned name, version and digest."""
    version = request_json(host, "/version")
    _compare(pin, "/version", [version["name"], str(version["version"]), version["digest"]])


def _compare(pin: Pin, source: str, values: list[str | None]) -> None:
    if values != [pin.name, str(pin.version), pin.digest]:
        raise SmokeFailed(f"{source} says {values}, the pin {pin}")


def check_golden(container: str, host: str, pin: Pin) -> int:
    """Checks the predictions for the container's golden images and returns the number of images."""
    with tempfile.TemporaryDirectory() as folder:
        docker("cp", f"{container}:/srv/models/{pin.name}/bundle", folder)
        bundle = Bundle.open(Path(folder) / "bundle")
        bundle.verify(whole=False)
        names, golden = [label.name for label in bundle.labels()], bundle.golden_images()
    for image in golden:
        (scores,) = request_json(host, f"/predict?top={len(names)}", image.data)["predictions"]
        predicted = {score["label"]: score["score"] for score in scores}
        difference = max(abs(predicted[name] - p) for name, p in zip(names, image.probabilities, strict=True))
        if not difference <= image.tolerance + 1e-6:
            raise SmokeFailed(f"the prediction for {image.file} differs by {difference:.2g}")
    return len(golden)


def check_graceful_stop(container: str) -> None:
    """Checks that the container exits with 0 on SIGTERM."""
    docker("stop", "--time", "60", container)
    code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
    if code != "0":
        raise SmokeFailed(f"exit code {code} after SIGTERM")


def run_smoke_test(image: str, pin: Pin, *options: str) -> None:
    """Runs all checks and prints their results."""
    with running_container(image, *options) as container:
        host = container_address(container)
        print(f"ready after {wait_until_ready(container, host):.2f} s")
        check_label(image, pin)
        check_version(host, pin)
        print(f"digest {pin.digest} in label, /version and pin")
        print(f"{check_golden(container, host, pin)} golden images answered as recorded")
        check_graceful_stop(container)
        print("SIGTERM: ended with 0")


if __name__ == "__main__":
    try:
        run_smoke_test(sys.argv[1], Pin.read(Path(sys.argv[2])), *sys.argv[3:])
    except SmokeFailed as error:
        sys.exit(str(error))
