"""The pin of the composition's model server."""

from serving.artifact.pin import Pin
from tests.deploy.composition.processes import Composition
from tests.serving.registries import register_bundle

MODEL = "digits"


def pin(stack: Composition, steepness: float = 4.0) -> Pin:
    """Registers a tiny bundle as the pipeline does, and pins it."""
    release = register_bundle(stack.registry, stack.folder, MODEL, steepness)
    (stack.folder / f"pins/{MODEL}.json").write_bytes(release.pin.to_bytes())
    return release.pin


def pinned(stack: Composition) -> Pin:
    """The current pin."""
    return Pin.read(stack.folder / f"pins/{MODEL}.json")
