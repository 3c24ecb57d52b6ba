"""Which bundle is served: the one with the pinned digest, from the workspace or from the registry."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from serving.artifact.bundle import MANIFEST, Bundle, read
from serving.artifact.pin import Pin
from serving.config import Settings
from serving.errors import BundleError, BundleMissing, ServingError
from serving.pull import place, pull

# The metrics of a thousand classes have some hundred kB.
REPORT_BYTES = 16 * 2**20


class DigestNotPinned(ServingError):
    """What was to be served is not what is pinned."""

    code = "digest_not_pinned"

    def __init__(self, path: Path, found: str, pin: Path, pinned: str) -> None:
        super().__init__(
            f"{path / MANIFEST} has the digest {found}, but {pin} names {pinned}. "
            "Serve the bundle that is pinned, or pin this one with `python -m pipeline promote`."
        )


class PinnedMissing(ServingError):
    """The pinned bundle is neither in the workspace nor to be had from the registry."""

    code = "pinned_missing"

    def __init__(self, workspace: Path, pin: Path, reason: ServingError | OSError) -> None:
        super().__init__(
            f"{workspace / MANIFEST} is not what {pin} names, and pulling it failed: {reason} "
            "`make run` builds a model and pins it."
        )


@dataclass(frozen=True)
class Release:
    """The pinned bundle, verified, and what is known of it besides its bytes.

    `find` has the files that answer in memory, once for all processes that are forked later: a worker that is
    started again answers with the same bytes, whatever lies in the folder by then.
    """

    bundle: Bundle
    pin: Pin
    pin_commit: str | None
    metrics: dict[str, Any] | None


def find(settings: Settings) -> Release:
    """Finds the pinned bundle, pulls it if the workspace has another one, and checks every byte of it."""
    file = settings.pins / f"{settings.model}.json"
    pin = Pin.read(file)
    bundle = _bundle(settings, pin, file)
    # Of the bytes that this manifest was read from, which no other process can change any more.
    if bundle.digest != pin.digest:
        raise DigestNotPinned(bundle.path, bundle.digest, file, pin.digest)
    bundle.check_name(pin.name)
    return Release(bundle.in_memory(), pin, settings.pin_commit or None, _metrics(settings, pin))


def _bundle(settings: Settings, pin: Pin, file: Path) -> Bundle:
    if settings.bundle is not None:
        return Bundle.open(settings.bundle)
    workspace = settings.models / settings.model / "bundle"
    # After a rollback, say, the workspace has a newer one.
    with suppress(BundleMissing):
        if (found := Bundle.open(workspace)).digest == pin.digest:
            return found
    try:
        to = place(settings.models, pin)
        return Bundle.open(pull(pin, settings.registry, to, credentials=settings.credentials, log=sys.stderr))
    except (ServingError, OSError) as error:
        raise PinnedMissing(workspace, file, error) from error


def _metrics(settings: Settings, pin: Pin) -> dict[str, Any] | None:
    """What evaluation found out about this very digest, if its report is here."""
    file = settings.reports / settings.model / "metrics.json"
    try:
        metrics = msgspec.json.decode(read(file, REPORT_BYTES) or b"", type=dict[str, Any])
    # A report is worth showing, and not worth failing for.
    except (BundleError, msgspec.DecodeError, RecursionError):
        return None
    return metrics if metrics.get("digest") == pin.digest else None
