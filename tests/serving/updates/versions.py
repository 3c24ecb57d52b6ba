"""Further versions of the tests' model, as they come into a workspace."""

from pathlib import Path
from typing import Any

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import LABELS
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, write_bundle
from tests.serving.servers import Server, await_true

# The same classes under other names.
OTHER_LABELS = {
    LABELS: to_json([{"id": f"c{number}", "name": f"new {n}"} for number, n in enumerate(COLOURS)])
}


def add_version(folder: Path, number: int, **options: Any) -> Pin:  # noqa: ANN401  (those of write_bundle)
    """Writes a version where pulled ones are, and returns its pin."""
    fresh = write_bundle(folder / "fresh", **options)
    pin = Pin("colours", number, Bundle.open(fresh).digest)
    target = pulled(folder, pin)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(target)
    return pin


def pulled(folder: Path, pin: Pin) -> Path:
    """Where a version lies that was pulled."""
    return folder / "models/colours/pulled" / pin.digest[:12]


def write_pin(folder: Path, pin: Pin | bytes) -> None:
    """Replaces the pin, as `git pull` or a mounted ConfigMap does."""
    data = pin if isinstance(pin, bytes) else pin.to_bytes()
    (folder / "pins/new").write_bytes(data)
    (folder / "pins/new").rename(folder / "pins/colours.json")


def await_version(server: Server, pin: Pin) -> None:
    """Waits until a version is active."""
    await_true(lambda: server.get("/version").json()["digest"] == pin.digest)


def pin_and_await(server: Server, pin: Pin) -> None:
    """Pins a version and waits until it is active."""
    write_pin(server.folder, pin)
    await_version(server, pin)


def states(server: Server) -> list[tuple[int, str]]:
    """Version and state of all that is loaded or refused."""
    (model,) = server.get("/models").json()["models"]
    return [(each["version"], each["state"]) for each in model["versions"]]
