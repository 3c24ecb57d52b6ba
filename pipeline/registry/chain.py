"""The chain of custody: data → dvc.lock → bundle → registry → pin, link by link."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.errors import ChainBroken, PipelineError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.project.staleness import stale
from pipeline.registry.mlflow_registry import Registry
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import MANIFEST
from serving.artifact.pin import Pin
from serving.errors import ServingError

# Reasons that a sentence names before it counts the others.
FEW = 5


@dataclass(frozen=True)
class Link:
    """One step of the chain; `check` says what it found, or raises."""

    name: str
    check: Callable[[], str]

    def hold(self) -> str:
        """Runs the check; whatever is wrong becomes a `ChainBroken` that names the link."""
        try:
            return self.check()
        except ChainBroken:
            raise
        except (PipelineError, ServingError, OSError) as error:
            raise ChainBroken(self.name, str(error)) from error


def links(layout: Layout, connect: Callable[[], Registry]) -> Iterator[Link]:
    """The links from the data to the pin, in order."""
    yield Link("data", lambda: _data(layout))
    yield Link("dvc.lock", lambda: _lock(layout))
    yield Link("bundle", lambda: _bundle(layout))
    yield Link("registry", lambda: _registry(layout, connect()))
    yield Link("pin", lambda: _pin(layout, connect()))


def _data(layout: Layout) -> str:
    changed = [reason for reason in stale(layout.model) if reason.startswith("prepare@")]
    if changed:
        raise ChainBroken("data", _few(changed))
    if not layout.raw.exists():
        raise ChainBroken("data", f"{layout.raw} is not here")
    return f"{layout.raw} is what dvc.lock was made from"


def _lock(layout: Layout) -> str:
    # What is wrong with the bundle is for the next link to say, which knows the file.
    changed = [reason for reason in stale(layout.model) if layout.bundle.as_posix() not in reason]
    if changed:
        raise ChainBroken("dvc.lock", _few(changed))
    stage = f"export@{layout.model}"
    if stage not in yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]:
        raise ChainBroken("dvc.lock", f"it has no {stage}; `make run MODEL={layout.model}` builds it")
    return "code, params and data are those that it was made from"


def _bundle(layout: Layout) -> str:
    bundle = Bundle.open(layout.bundle)
    measured = read_json(layout.metrics).get("digest")
    if bundle.digest != measured:
        found = f"{layout.bundle / MANIFEST} has digest {bundle.digest}"
        raise ChainBroken("bundle", f"{found}, {layout.metrics} measured {measured}")
    bundle.check_name(layout.model)
    bundle.verify()
    return f"{layout.bundle}: {len(bundle.manifest.files)} files as in the manifest, digest {bundle.digest}"


def _registry(layout: Layout, registry: Registry) -> str:
    version = registry.get(layout.model, Pin.read(layout.pin).digest)
    registry.verify(version)
    return f"{version.uri} at {registry.shown} has the same bytes"


def _pin(layout: Layout, registry: Registry) -> str:
    pin = Pin.read(layout.pin)
    version = registry.get(pin.name, pin.digest)
    if pin.version not in version.numbers:
        raise ChainBroken(
            "pin", f"{layout.pin} says version {pin.version}, the registry says {version.number}"
        )
    champion = registry.champion(layout.model)
    if champion is None or champion.digest != pin.digest:
        held = "nothing" if champion is None else f"version {champion.number}"
        raise ChainBroken("pin", f"{layout.pin} pins version {pin.version}, but the alias champion is {held}")
    # After a rollback the workspace rightly holds another bundle.
    opened = Bundle.open(layout.bundle).digest
    here = "the bundle of the workspace" if opened == pin.digest else f"not the workspace's {opened[:12]}"
    return f"{layout.pin}: version {pin.version}, champion in the registry, {here}"


def _few(reasons: list[str]) -> str:
    """The first ones, and how many more there are."""
    more = (
        f"; and {len(reasons) - FEW} more, `python -m pipeline stale` lists them"
        if len(reasons) > FEW
        else ""
    )
    return "; ".join(reasons[:FEW]) + more
