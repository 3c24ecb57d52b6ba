"""What is pinned in the composition."""

from serving.artifact.pin import Pin
from tests.deploy.composition.processes import Composition
from tests.serving.registries import register_bundle

MODEL = "digits"


def pin(made: Composition, steepness: float = 4.0) -> Pin:
    """Registers a tiny bundle, from outside and as the pipeline does, and pins it."""
    release = register_bundle(made.registry, made.folder, MODEL, steepness)
    (made.folder / f"pins/{MODEL}.json").write_bytes(release.pin.to_bytes())
    return release.pin


def pinned(made: Composition) -> Pin:
    """What is pinned now."""
    return Pin.read(made.folder / f"pins/{MODEL}.json")
