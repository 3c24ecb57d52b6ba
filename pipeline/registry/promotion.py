"""Promotion and rollback: they write `pins/<model>.json`, which decides what is served.

They also set the alias `champion`, so that it follows the pin.
"""

from pipeline.errors import PipelineError
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registry import pin_history
from pipeline.registry.mlflow_files import verify_files
from pipeline.registry.mlflow_registry import CHAMPION, RegisteredVersion, Registry
from serving.artifact.pin import Pin
from serving.errors import PinMissing


def promote(layout: Layout, registry: Registry, version: RegisteredVersion) -> Pin:
    """Pins a version and sets the alias `champion` to it.

    A pin that already has the version's digest stays unchanged: it may have the number of another registry.
    """
    current = _read_pin(layout)
    if current is not None and current.digest == version.digest:
        return _set_pin_and_alias(layout, registry, version, current)
    new = Pin(layout.model, version.number, version.digest)
    return _set_pin_and_alias(layout, registry, version, new)


def rollback(layout: Layout, registry: Registry) -> Pin:
    """Pins the version before the current one, as recorded in git, except versions that were withdrawn.

    From version 3 it goes to 2, and from there to 1: not to 3, which the first rollback has withdrawn.
    """
    current = Pin.read(layout.pin)
    *earlier, _ = pin_history.rollback_stack(layout.pin, current)
    if not earlier:
        raise PinMissing(
            layout.pin,
            f"git knows no earlier pin to go back to than version {current.version}, except versions that "
            f"were withdrawn; `python -m pipeline promote {layout.model} --version N` pins any version",
        )
    version = registry.get_by_digest(layout.model, earlier[-1].digest)
    return _set_pin_and_alias(layout, registry, version, earlier[-1])


def was_withdrawn(layout: Layout, version: RegisteredVersion) -> bool:
    """Whether this version was pinned once and then replaced; `make run` does not pin such a version again.

    `HistoryShallow` if the clone has too few commits to tell.
    """
    current = _read_pin(layout)
    return current is not None and pin_history.was_replaced(layout.pin, current, version.digest)


def _read_pin(layout: Layout) -> Pin | None:
    return Pin.read(layout.pin) if layout.pin.exists() else None


def _set_pin_and_alias(layout: Layout, registry: Registry, version: RegisteredVersion, pin: Pin) -> Pin:
    current = _read_pin(layout)
    if pin != current:
        verify_files(registry, version)
    if pin.version not in version.accepted_numbers:
        registry.set_pinned_as(version, pin.version)
    write(layout.pin, pin.to_bytes())
    try:
        registry.set_alias(version, CHAMPION)
    except PipelineError:
        # The alias must match the pin: if it cannot be set, the pin is restored.
        if current is None:
            layout.pin.unlink()
        else:
            write(layout.pin, current.to_bytes())
        raise
    return pin
