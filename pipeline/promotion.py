"""Moving the pin: the one thing that changes what is served."""

from pipeline import pins
from pipeline.errors import PinMissing, PipelineError
from pipeline.layout import Layout
from pipeline.pins import Pin
from pipeline.registry import CHAMPION, Registry, Version


def promote(layout: Layout, registry: Registry, version: Version) -> Pin:
    """Pins a version and lets the alias `champion` follow.

    A pin that already has its digest stays as it is: it may stem from a registry that counts differently.
    """
    current = pins.read(layout.pin) if layout.pin.exists() else None
    if current is not None and current.digest == version.digest:
        if current.version not in version.numbers:
            registry.set_pinned_as(version, current.version)
        if registry.champion(layout.model) != version:
            registry.set_alias(version, CHAMPION)
        return current
    return _pin(layout, registry, version, current)


def rollback(layout: Layout, registry: Registry) -> Pin:
    """Pins again what was pinned before, as git remembers it."""
    current = pins.read(layout.pin)
    # The newest commit may hold the current pin or, when that is not committed yet, the one before it.
    for entry in pins.history(layout.pin):
        if entry.pin.digest != current.digest:
            version = registry.get(layout.model, entry.pin.digest)
            return _pin(layout, registry, version, current)
    raise PinMissing(
        layout.pin, "git knows no earlier pin to go back to; commit a pin to be able to return to it"
    )


def _pin(layout: Layout, registry: Registry, version: Version, current: Pin | None) -> Pin:
    pin = Pin(layout.model, version.number, version.digest)
    pins.save(layout.pin, pin)
    try:
        registry.set_alias(version, CHAMPION)
    except PipelineError:
        # The alias mirrors the pin; when it cannot follow, nothing has happened.
        if current is None:
            layout.pin.unlink()
        else:
            pins.save(layout.pin, current)
        raise
    return pin
