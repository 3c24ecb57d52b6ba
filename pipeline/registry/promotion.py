"""Moving the pin: the one thing that changes what is served."""

from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.registry import pins
from pipeline.registry.mlflow_registry import CHAMPION, Registry, Version
from serving.artifact.pin import Pin
from serving.errors import PinMissing


def promote(layout: Layout, registry: Registry, version: Version) -> Pin:
    """Pins a version and lets the alias `champion` follow.

    A pin that already has its digest stays as it is: it may stem from a registry that counts differently.
    """
    current = _current(layout)
    if current is not None and current.digest == version.digest:
        return _pin(layout, registry, version, current)
    return _pin(layout, registry, version, Pin(layout.model, version.number, version.digest))


def rollback(layout: Layout, registry: Registry) -> Pin:
    """Pins the version before the current one, as git remembers them; never one that was withdrawn.

    From 3 it goes to 2, and from there to 1: not to 3 again, which the first rollback has withdrawn.
    """
    current = Pin.read(layout.pin)
    *earlier, _ = pins.lineage(layout.pin, current)
    if not earlier:
        raise PinMissing(
            layout.pin,
            f"git knows no earlier pin to go back to than version {current.version}, except versions that "
            f"were withdrawn; `python -m pipeline promote {layout.model} --version N` pins any version",
        )
    return _pin(layout, registry, registry.get(layout.model, earlier[-1].digest), earlier[-1])


def withdrawn(layout: Layout, version: Version) -> bool:
    """Was this version pinned once and then replaced? Pinning it again must be somebody's decision.

    `HistoryShallow` if that cannot be known.
    """
    current = _current(layout)
    return current is not None and pins.replaced(layout.pin, current, version.digest)


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
