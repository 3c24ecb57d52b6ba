"""The pinned bundle, wherever it can be had: for machines that did not build it, as those of CI.

In this order: the workspace, the MLflow registry, DVC's cache and remote, and, last, building it again. What
was built again on another kind of CPU may have other bytes; then it is not what is pinned.
"""

import subprocess
import sys

import msgspec

from pipeline.errors import CommandFailed, PinnedUnavailable
from pipeline.layout import Layout
from pipeline.registry import pins
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import DigestNotPinned, find_release
from serving.config import Settings
from serving.errors import ServingError

# What no registry has numbered: a version that is in this workspace only.
UNREGISTERED = 0


def fetch(layout: Layout, stand_in: bool = False) -> Pin:
    """Makes the pinned bundle available to `make serve` and `make image`; gives the pin.

    If nobody has it and building gives other bytes, that is `PinnedUnavailable`. With `stand_in` the new
    bundle takes the place of the pinned one instead, in this workspace only: to try it, not to publish it.
    """
    pin = Pin.read(layout.pin)
    tried: list[str] = []
    for place, obtain in (("workspace and registry", _find), ("DVC", _pull), ("building it again", _build)):
        try:
            obtain(layout, pin)
        except (ServingError, CommandFailed) as error:
            tried.append(f"{place}: {str(error).splitlines()[0]}")
            continue
        print(f"{layout.model} {pin.digest[:12]} is here, by way of {place}")
        return pin
    if not stand_in:
        raise PinnedUnavailable(layout.pin, pin.digest, tried)
    return _take_instead(layout, tried)


def _find(layout: Layout, _: Pin) -> None:
    """As a server that is started here would find it."""
    find_release(msgspec.structs.replace(Settings.read(), model=layout.model))


def _pull(layout: Layout, pin: Pin) -> None:
    _dvc("pull", str(layout.bundle))
    _check(layout, pin)


def _build(layout: Layout, pin: Pin) -> None:
    _dvc("repro", f"export@{layout.model}")
    _check(layout, pin)


def _check(layout: Layout, pin: Pin) -> None:
    bundle = Bundle.open(layout.bundle)
    if bundle.digest != pin.digest:
        raise DigestNotPinned(bundle.path, bundle.digest, layout.pin, pin.digest)
    bundle.check_name(pin.name)
    bundle.verify()


def _dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(["dvc", *arguments], done.returncode, done.stderr)


def _take_instead(layout: Layout, tried: list[str]) -> Pin:
    bundle = Bundle.open(layout.bundle)
    bundle.verify()
    pin = Pin(layout.model, UNREGISTERED, bundle.digest)
    pins.save(layout.pin, pin)
    print(f"{layout.pin} names {pin.digest} now, which was built here, instead of what is pinned. Tried:")
    print("".join(f"  {line}\n" for line in tried), end="")
    return pin
