"""Makes the pinned bundle available on a machine that did not build it, such as a CI runner.

Sources, in this order: the workspace, the MLflow registry, DVC's cache and remote, and a rebuild. A rebuild
with another digest is not accepted: another version of the code, or a CPU without the same arithmetic.
"""

import subprocess
import sys

from pipeline.errors import CommandFailed, PinnedUnavailable
from pipeline.files import write
from pipeline.layout import Layout
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import DigestNotPinned, find_release
from serving.config import Settings
from serving.errors import ServingError

# Version number of a bundle that is in this workspace only.
UNREGISTERED = 0


def fetch_pinned(layout: Layout, stand_in: bool = False) -> Pin:
    """Makes the pinned bundle available to `make serve` and `make image`; returns the pin.

    If no source has it and a rebuild has another digest, raises `PinnedUnavailable`. With `stand_in` the
    rebuilt bundle is pinned instead, in this workspace only: to try it, not to publish it. Without the data
    nothing can be built, so nothing can stand in either.
    """
    pin = Pin.read(layout.pin)
    tried: list[str] = []
    for source, obtain in (
        ("workspace and registry", _find_or_download),
        ("DVC", _pull_from_dvc),
        ("building it again", _rebuild),
    ):
        try:
            obtain(layout, pin)
        except (ServingError, CommandFailed) as error:
            tried.append(f"{source}: {str(error).splitlines()[0]}")
            continue
        print(f"{layout.model} {pin.digest[:12]} is here, by way of {source}")
        return pin
    if not stand_in or not layout.bundle.exists():
        raise PinnedUnavailable(layout.pin, pin.digest, tried)
    return _pin_stand_in(layout, tried)


def find_pinned(layout: Layout) -> Bundle:
    """The pinned bundle, from the workspace or the registry: the search of a server that is started here.

    Raises a `ServingError` if neither has it.
    """
    return find_release(Settings.read(), layout.model).bundle


def _find_or_download(layout: Layout, _: Pin) -> None:
    find_pinned(layout)


def _pull_from_dvc(layout: Layout, pin: Pin) -> None:
    _run_dvc("pull", str(layout.bundle))
    _check_digest(layout, pin)


def _rebuild(layout: Layout, pin: Pin) -> None:
    _run_dvc("repro", f"export@{layout.model}")
    _check_digest(layout, pin)


def _check_digest(layout: Layout, pin: Pin) -> None:
    bundle = Bundle.open(layout.bundle)
    if bundle.digest != pin.digest:
        raise DigestNotPinned(bundle.path, bundle.digest, layout.pin, pin.digest)
    bundle.check_name(pin.name)
    bundle.verify()


def _run_dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(["dvc", *arguments], done.returncode, done.stderr)


def _pin_stand_in(layout: Layout, tried: list[str]) -> Pin:
    bundle = Bundle.open(layout.bundle)
    bundle.verify()
    pin = Pin(layout.model, UNREGISTERED, bundle.digest)
    write(layout.pin, pin.to_bytes())
    layout.signature.unlink(missing_ok=True)
    print(f"{layout.pin} names {pin.digest} now, which was built here, instead of what is pinned. Tried:")
    print("".join(f"  {line}\n" for line in tried), end="")
    return pin
