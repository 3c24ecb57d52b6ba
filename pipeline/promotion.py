"""Moving the pin: the one thing that changes what is served."""

from pipeline import pins
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.registry import CHAMPION, Registry, Version
from serving.errors import PinMissing
from serving.pin import Pin


def promote(layout: Layout, registry: Registry, version: Version) -> Pin:
    """Pins a version and lets the alias `champion` follow.

    A pin that already has its digest stays as it is: it may stem from a registry that counts differently.
    """
    current = _current(layout)
    if current is not None and current.digest == version.digest:
        return _pin(layout, registry, version, current)
    return _pin(layout, registry, version, Pin(layout.model, version.number, version.digest))


def rollback(layout: Layout, registry: Registry) -> Pin:
    """Pins again what was pinned before, as git remembers it."""
    current = Pin.read(layout.pin)
    # The newest commit may hold the current pin or, when that is not committed yet, the one before it.
    for entry in pins.history(layout.pin):
        if entry.pin.digest != current.digest:
            return _pin(layout, registry, registry.get(layout.model, entry.pin.digest), entry.pin)
    raise PinMissing(
        layout.pin, "git knows no earlier pin to go back to; commit a pin to be able to return to it"
    )


def withdrawn(layout: Layout, version: Version) -> bool:
    """Was this version pinned once and then replaced? Pinning it again must be somebody's decision."""
    current = _current(layout)
    if current is None or current.digest == version.digest:
        return False
    return any(entry.pin.digest == version.digest for entry in pins.history(layout.pin))


def _current(layout: Layout) -> Pin | None:
    return Pin.read(layout.pin) if layout.pin.exists() else None


def _pin(layout: Layout, registry: Registry, version: Version, pin: Pin) -> Pin:
    current = _current(layout)
    if pin != current:
        registry.verify(version)
    if pin.version not in version.numbers:
        registry.set_pinned_as(version, pin.version)
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
