"""Promotion and rollback: they write `pins/<model>.json`, which decides what is served.

They also set the alias `champion`, so that it follows the pin, and replace `pins/<model>.sig` with the pin.
"""

from contextlib import suppress
from dataclasses import replace

from pipeline.errors import PipelineError
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registry import pin_history
from pipeline.registry.mlflow_files import read_signature, verify_files, write_signature
from pipeline.registry.mlflow_registry import CHAMPION, RegisteredVersion, Registry
from pipeline.registry.pin_signature import find_signature, replace_file
from serving.artifact.pin import Pin
from serving.errors import PinMissing


def promote(
    layout: Layout, registry: Registry, version: RegisteredVersion, signature: bytes | None = None
) -> Pin:
    """Pins a version and sets the alias `champion` to it.

    A pin that already has the version's digest stays unchanged: it may have the number of another registry.

    `signature`: a new one of this version, for the pin and the registry. Without it, an earlier signature of
    the same version is kept, and the signature of another version is removed.
    """
    current = _read_pin(layout)
    if current is not None and current.digest == version.digest:
        return _set_pin_and_alias(layout, registry, version, current, signature)
    new = Pin(layout.model, version.number, version.digest)
    return _set_pin_and_alias(layout, registry, version, new, signature)


def allow(layout: Layout, registry: Registry, version: RegisteredVersion) -> Pin:
    """Adds a version to those that a server may change to when it follows an alias of the registry.

    The pinned version stays. The next promotion writes a pin that allows no others.
    """
    pin = Pin.read(layout.pin)
    if version.digest in (pin.digest, *pin.allowed):
        return pin
    verify_files(registry, version)
    allowed = replace(pin, allowed=(*pin.allowed, version.digest))
    write(layout.pin, allowed.to_bytes())
    return allowed


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


def _set_pin_and_alias(
    layout: Layout,
    registry: Registry,
    version: RegisteredVersion,
    pin: Pin,
    signature: bytes | None = None,
) -> Pin:
    if pin != _read_pin(layout):
        verify_files(registry, version)
    if pin.version not in version.accepted_numbers:
        registry.set_pinned_as(version, pin.version)
    if signature is None:
        _write_files_and_alias(layout, registry, version, pin, find_signature(layout, registry, version))
        return pin
    # Before the pin, so that servers which see the new pin without the file beside it find the signature.
    registered = read_signature(registry, version)
    write_signature(registry, version, signature)
    try:
        _write_files_and_alias(layout, registry, version, pin, signature)
    except BaseException:
        with suppress(PipelineError):
            write_signature(registry, version, registered)
        raise
    return pin


def _write_files_and_alias(
    layout: Layout, registry: Registry, version: RegisteredVersion, pin: Pin, signature: bytes | None
) -> None:
    """Writes pin and signature, and sets the alias. If one of that fails, both files are as before."""
    before = {path: path.read_bytes() if path.exists() else None for path in (layout.pin, layout.signature)}
    try:
        replace_file(layout.signature, signature)
        replace_file(layout.pin, pin.to_bytes())
        registry.set_alias(version, CHAMPION)
    # BaseException: Ctrl-C must not leave a pin that the alias, or the signature, does not match.
    except BaseException:
        for path, data in before.items():
            replace_file(path, data)
        raise
    if before[layout.signature] is not None and signature is None:
        print(f"{layout.signature} removed: it is not of version {pin.version}, which has no signature")
