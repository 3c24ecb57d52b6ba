"""The served version changes with its pin, without a restart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, one_colour_png, write_bundle
from tests.serving.servers import Server, await_true, publish, running

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of version 3, beside which other versions lie that tests pin."""
    folder: Path = publish(tmp_path_factory.mktemp("live"))
    with running(folder, bake=3600) as started:
        yield started


def pin_version(folder: Path, number: int, **options: Any) -> Pin:  # noqa: ANN401  (those of write_bundle)
    """Writes a version as if it had been pulled, and pins it."""
    fresh = write_bundle(folder / "fresh", **options)
    pin = Pin("colours", number, Bundle.open(fresh).digest)
    target = folder / "models/colours/pulled" / pin.digest[:12]
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(target)
    write_pin(folder, pin)
    return pin


def write_pin(folder: Path, pin: Pin) -> None:
    (folder / "pins/new").write_bytes(pin.to_bytes())
    (folder / "pins/new").rename(folder / "pins/colours.json")


def test_swap(live: Server) -> None:
    pin = pin_version(live.folder, 4, steepness=2.0)
    worker = live.worker.pid
    await_true(lambda: live.get("/version").json()["digest"] == pin.digest)
    print(live.log()[-1])
    assert live.worker.pid == worker
