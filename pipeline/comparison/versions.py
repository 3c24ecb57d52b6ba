"""Finds the two bundles to compare: in the workspace, in the registry, or in a folder."""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.environment import Environment
from pipeline.errors import BundleUnknown, InputMissing, VersionDamaged, VersionMissing
from pipeline.layout import Layout
from serving.artifact.bundle import Bundle
from serving.artifact.download import default_destination, pull_bundle
from serving.artifact.pin import Pin
from serving.config import Settings
from serving.errors import BundleError
from serving.model.predictor import Predictor

# The alias `champion` follows the pin, which decides.
PINNED_NAMES = ("pinned", "champion")
CHALLENGER, WORKSPACE = "challenger", "workspace"
DIGEST = re.compile(r"[0-9a-f]{64}")
# Databases have version numbers of 32 bits.
NUMBER = re.compile(r"[0-9]{1,9}")
# The settings that say where the registry is; the others do not matter here.
REGISTRY_SETTINGS = (
    "models_folder",
    "registry",
    "registry_user",
    "registry_password",
    "registry_token",
    "registry_insecure_tls",
    "registry_plain_http",
)


@dataclass(frozen=True)
class Version:
    """A loaded bundle, as the user named it. `number` is `None` if it does not come from the registry."""

    name: str
    number: int | None
    predictor: Predictor

    @property
    def digest(self) -> str:
        return self.predictor.bundle.digest

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes in the order of the outputs."""
        return tuple(label.name for label in self.predictor.labels)

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}, version {self.number}"


def open_version(layout: Layout, text: str) -> Version:
    """Finds, verifies and loads a bundle of the model, and checks its golden images.

    `text` is `pinned`, `champion`, `challenger`, `workspace`, the number of a version, or a folder. A version
    of the registry is pulled to where the server looks for it, unless it is there. Raises a `PipelineError`
    or a `ServingError`.
    """
    bundle, name, number = _find(layout, text)
    bundle.check_name(layout.model)
    predictor = Predictor.open(bundle.path)
    predictor.check_golden()
    return Version(name, number, predictor)


def _find(layout: Layout, text: str) -> tuple[Bundle, str, int | None]:
    """The bundle, its name in the output, and its number."""
    if text == WORKSPACE:
        if not layout.bundle.exists():
            raise InputMissing(layout.bundle, layout.model)
        return Bundle.open(layout.bundle), text, None
    if text in PINNED_NAMES:
        pin = Pin.read(layout.pin)
        return _obtain(layout, pin), "pinned", pin.version
    if text == CHALLENGER or NUMBER.fullmatch(text):
        pin = _registered(layout, text)
        return _obtain(layout, pin), CHALLENGER if text == CHALLENGER else "registered", pin.version
    if not Path(text).is_dir():
        raise BundleUnknown(text, layout.model)
    return Bundle.open(Path(text)), text, None


def _registered(layout: Layout, text: str) -> Pin:
    """Number and digest of a registered version."""
    # Imported here because MLflow takes a second to import.
    from pipeline.registry.mlflow_registry import Registry

    registry = Registry.connect(Environment.read())
    if text == CHALLENGER:
        version = registry.find_by_alias(layout.model, CHALLENGER)
        if version is None:
            raise VersionMissing(layout.model, f"the alias {CHALLENGER}", registry.display_uri)
    else:
        version = registry.get_by_number(layout.model, int(text))
    # It becomes a part of a path, and anybody who can write to the registry can set it.
    if not DIGEST.fullmatch(version.digest):
        reason = f"its digest is {version.digest[:80]!r}, which is no SHA-256"
        raise VersionDamaged(version.name, version.uri, reason)
    return Pin(version.name, version.number, version.digest)


def _obtain(layout: Layout, pin: Pin) -> Bundle:
    """The bundle with this digest, from the workspace or the registry."""
    with suppress(BundleError):
        if (bundle := Bundle.open(layout.bundle)).digest == pin.digest:
            return bundle
    settings = Settings.read(only=REGISTRY_SETTINGS)
    destination = default_destination(settings.models_folder, pin)
    return Bundle.open(
        pull_bundle(pin, settings.registry, destination, credentials=settings.credentials, log=sys.stderr)
    )
