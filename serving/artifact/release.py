"""Finds the bundle to serve: the one with the pinned digest, from the workspace or from the registry."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from serving.artifact.bundle import Bundle
from serving.artifact.download import default_destination, pull_bundle
from serving.artifact.files import read_file
from serving.artifact.manifest import MANIFEST
from serving.artifact.pin import Pin
from serving.artifact.signature import Signature
from serving.artifact.signature_check import check_signature
from serving.config import Settings
from serving.errors import BundleError, BundleMissing, ServingError

# The metrics of a thousand classes have a few hundred kB.
MAX_METRICS_BYTES = 16 * 2**20


class DigestNotPinned(ServingError):
    """The bundle to serve has another digest than the pin."""

    code = "digest_not_pinned"

    def __init__(self, path: Path, found: str, pin: Path, pinned: str) -> None:
        super().__init__(
            f"{path / MANIFEST} has the digest {found}, but {pin} names {pinned}. "
            "Serve the bundle that is pinned, or pin this one with `python -m pipeline promote`."
        )


class PinnedMissing(ServingError):
    """The pinned bundle is not in the workspace and could not be pulled from the registry."""

    code = "pinned_missing"

    def __init__(self, workspace: Path, pin: Path, reason: ServingError | OSError) -> None:
        super().__init__(
            f"{workspace / MANIFEST} is not what {pin} names, and pulling it failed: {reason} "
            "`make run` builds a model and pins it."
        )


@dataclass(frozen=True)
class Release:
    """The pinned bundle, verified, with its pin and its evaluation metrics.

    `find_release` loads the serving files into memory, once for all processes that are forked later: a
    restarted worker serves the same bytes even if the folder has changed.
    """

    bundle: Bundle
    pin: Pin
    pin_commit: str | None
    metrics: dict[str, Any] | None
    # By a trusted key; None if the settings trust no keys.
    signature: Signature | None = None


def find_releases(settings: Settings) -> list[Release]:
    """The releases of all models that are to be served, the default one first."""
    return [find_release(settings, name) for name in settings.names]


def find_release(settings: Settings, name: str) -> Release:
    """Finds the pinned bundle, pulls it if the workspace has another one, and verifies every byte of it."""
    pin_path = settings.pins / f"{name}.json"
    pin = Pin.read(pin_path)
    return load_release(settings, pin, find_local_bundle(settings, pin) or _pull(settings, pin, pin_path))


def find_local_bundle(settings: Settings, pin: Pin) -> Bundle | None:
    """The bundle with the pinned digest if it is on this machine. Its files are not verified yet.

    That of `settings.bundle` may have another digest.
    """
    if settings.bundle is not None:
        return Bundle.open(settings.bundle)
    # The workspace may hold another version, for example after a rollback.
    with suppress(BundleMissing):
        bundle = Bundle.open(settings.models_folder / pin.name / "bundle")
        if bundle.digest == pin.digest:
            return bundle
    # One that was pulled and is damaged is pulled again.
    with suppress(BundleError):
        bundle = Bundle.open(pulled_folder(settings, pin))
        if bundle.digest == pin.digest:
            bundle.verify(whole=False)
            return bundle
    return None


def load_release(settings: Settings, pin: Pin, bundle: Bundle) -> Release:
    """Reads and verifies the files of a bundle, which must have the digest of the pin.

    Its signature too, if the settings trust keys (`check_signature`).
    """
    # Compares the digest of the bytes that were parsed, which no other process can change any more.
    if bundle.digest != pin.digest:
        raise DigestNotPinned(bundle.path, bundle.digest, settings.pins / f"{pin.name}.json", pin.digest)
    bundle.check_name(pin.name)
    signature = check_signature(settings, bundle, pin.name)
    loaded, metrics = bundle.load_serving_files(), _read_metrics(settings, pin)
    return Release(loaded, pin, settings.pin_commit or None, metrics, signature)


def pull_pinned(settings: Settings, pin: Pin) -> Path:
    """Pulls the bundle of a pin from the registry; returns its folder. Reports progress on stderr.

    What must be signed and is not is refused before its files are downloaded.
    """
    return pull_bundle(
        pin,
        settings.registry,
        pulled_folder(settings, pin),
        credentials=settings.credentials,
        log=sys.stderr,
        accept=partial(check_signature, settings, name=pin.name),
    )


def pulled_folder(settings: Settings, pin: Pin) -> Path:
    """Where the bundle of a pin is put when it is pulled."""
    return default_destination(settings.models_folder, pin)


def _pull(settings: Settings, pin: Pin, pin_path: Path) -> Bundle:
    try:
        return Bundle.open(pull_pinned(settings, pin))
    except (ServingError, OSError) as error:
        raise PinnedMissing(settings.models_folder / pin.name / "bundle", pin_path, error) from error


def _read_metrics(settings: Settings, pin: Pin) -> dict[str, Any] | None:
    """The evaluation metrics of the pinned digest; None without a readable report of this digest."""
    path = settings.reports / pin.name / "metrics.json"
    try:
        metrics = msgspec.json.decode(read_file(path, MAX_METRICS_BYTES) or b"", type=dict[str, Any])
    # The report is optional: a damaged one must not stop the server.
    except (BundleError, msgspec.DecodeError, RecursionError):
        return None
    return metrics if metrics.get("digest") == pin.digest else None
