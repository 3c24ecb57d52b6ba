"""`repair <model>`: puts right what copies, moves and lost files have done to registry, alias and pin.

What cannot be put right without a decision, or without bytes that are not here, is said with what to do.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from pipeline.environment import Environment
from pipeline.errors import HistoryShallow, PipelineError, VersionDamaged
from pipeline.layout import Layout
from pipeline.registry import dvc_cache, pins, relocation
from pipeline.registry.mlflow_registry import CHAMPION, Database, Registry, Version, locked
from pipeline.registry.registration import ensure
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import PinInvalid, PinMissing, ServingError


class State(StrEnum):
    """What became of one thing that was looked at."""

    OK = "ok"
    MENDED = "mended"
    LEFT = "NOT mended"


@dataclass(frozen=True)
class Finding:
    """One line of what `repair` says."""

    state: State
    said: str

    def __str__(self) -> str:
        return f"{self.state:<11}{self.said}"


def repair(layout: Layout, environment: Environment) -> Iterator[Finding]:
    """Looks at everything in turn: paths, pin, versions, alias."""
    moved = _moved(environment)
    yield from (Finding(State.MENDED, f"mlflow.db no longer leads to {there}") for there in moved)
    registry = Registry.connect(environment)
    yield _pin_file(layout)
    for version in registry.versions(layout.model):
        yield _version(layout, registry, version, moved)
    with suppress(PinMissing, PinInvalid):
        yield from _pinned(layout, registry, Pin.read(layout.pin))


def _moved(environment: Environment) -> list[Path]:
    """Lets the embedded database's paths lead to this folder; gives where they led before."""
    database = Database.of(environment)
    if database is None or not database.path.exists():
        return []
    with locked(database.path):
        there = relocation.foreign(database.path, database.artifacts)
        for folder in there:
            relocation.relocate(database.path, folder, database.artifacts)
    return there


def _pin_file(layout: Layout) -> Finding:
    """A pin that cannot be read, or is gone, becomes again what git has."""
    path, known = layout.pin, pins.history(layout.pin)
    try:
        pin = Pin.read(path)
    except PinMissing as error:
        return (
            _restored(path, known[0], "was not there")
            if pins.is_tracked(path) and known
            else (Finding(State.OK, str(error)))
        )
    except PinInvalid as error:
        if pins.is_unmerged(path):
            advice = f"`git checkout --ours -- {path}` or `--theirs` takes one side"
            return Finding(State.LEFT, f"{path} is in conflict: {advice}, then `git add {path}`")
        return (
            _restored(path, known[0], "could not be read")
            if known
            else (Finding(State.LEFT, f"{error} git knows none: `python -m pipeline promote {layout.model}`"))
        )
    return _stale(layout, pin, known)


def _restored(path: Path, entry: pins.Entry, reason: str) -> Finding:
    pins.save(path, entry.pin)
    said = f"{path} {reason}: version {entry.pin.version} again, as commit {entry.commit[:10]} has it"
    return Finding(State.MENDED, said)


def _stale(layout: Layout, pin: Pin, known: list[pins.Entry]) -> Finding:
    """An uncommitted pin that names what was withdrawn may be meant, or come from before that was known."""
    if known and known[0].pin.digest != pin.digest:
        try:
            if pins.replaced(layout.pin, known[0].pin, pin.digest):
                said = f"{layout.pin} names version {pin.version}, which was pinned before and replaced by "
                said += (
                    f"version {known[0].pin.version}: `git checkout -- {layout.pin}` undoes that, a commit "
                )
                return Finding(State.LEFT, f"{said}confirms it")
        except HistoryShallow as error:
            return Finding(State.LEFT, str(error))
    return Finding(State.OK, f"{layout.pin}: version {pin.version}")


def _version(layout: Layout, registry: Registry, version: Version, moved: list[Path]) -> Finding:
    try:
        registry.verify(version)
    except VersionDamaged as error:
        damage = str(error).partition(". `python")[0]
    else:
        return Finding(State.OK, f"{version.uri}: every byte is as it was registered")
    location = registry.location(version)
    for place, copy in (
        ("the workspace", partial(_workspace, layout)),
        ("the old folder", partial(_old_folder, registry, location, moved)),
        ("DVC's cache", _cached),
    ):
        with TemporaryDirectory(prefix="goldfish-") as folder, suppress(ServingError, PipelineError, OSError):
            bundle = Bundle.open(copy(version.digest, Path(folder)))
            if bundle.digest == version.digest:
                bundle.verify(allow_bytecode=False)
                registry.restore(version, bundle)
                registry.verify(version)
                return Finding(State.MENDED, f"{version.uri}: files put back from {place}")
    advice = f"`dvc fetch --all-commits {layout.bundle}` may bring them from a remote, then repair again"
    return Finding(State.LEFT, f"{damage}; neither workspace nor DVC's cache has these bytes: {advice}")


def _workspace(layout: Layout, _: str, __: Path) -> Path:
    return layout.bundle


def _old_folder(registry: Registry, location: str, moved: list[Path], _: str, empty: Path) -> Path:
    """Where a version was registered in a copy, before the copy's paths were its own."""
    here = registry.artifacts
    path = Path(unquote(urlsplit(location).path))
    if here is None or not path.is_relative_to(here):
        return empty
    return next((it for there in moved if (it := there / path.relative_to(here)).is_dir()), empty)


def _cached(digest: str, empty: Path) -> Path:
    dvc_cache.copy_bundle(digest, empty)
    return empty


def _pinned(layout: Layout, registry: Registry, pin: Pin) -> Iterator[Finding]:
    """The registry has what is pinned, by the pin's number too, and the alias `champion` names it."""
    version = registry.find(pin.name, pin.digest)
    if version is None:
        version = _registered(layout, registry, pin)
        if version is None:
            advice = f"`python -m pipeline fetch {pin.name}` brings or builds the bundle, then repair again"
            yield Finding(
                State.LEFT,
                f"{registry.shown} has no version with the digest {pin.digest} of the pin: {advice}",
            )
            return
        yield Finding(State.MENDED, f"{version.uri}: registered from {layout.bundle}, as it was pinned")
    if pin.version not in version.numbers:
        registry.set_pinned_as(version, pin.version)
        yield Finding(State.MENDED, f"{version.uri} is noted as the version {pin.version} of the pin")
    held = registry.champion(pin.name)
    if held is not None and held.digest == pin.digest:
        yield Finding(State.OK, f"the alias champion is version {held.number}, as pinned")
    else:
        registry.set_alias(version, CHAMPION)
        before = "nothing" if held is None else f"version {held.number}"
        yield Finding(State.MENDED, f"the alias champion is version {version.number}, no longer {before}")


def _registered(layout: Layout, registry: Registry, pin: Pin) -> Version | None:
    """Registers the workspace's bundle if it is the pinned one, and passed its gate."""
    with suppress(ServingError, PipelineError):
        if Bundle.open(layout.bundle).digest == pin.digest:
            return ensure(layout, registry)
    return None
