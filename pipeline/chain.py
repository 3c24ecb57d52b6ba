"""The chain of custody: data → dvc.lock → bundle → registry → pin, link by link."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline import pins
from pipeline.errors import ChainBroken, PipelineError
from pipeline.layout import Layout
from pipeline.registry import Registry
from pipeline.staleness import stale
from serving.bundle import MANIFEST, Bundle
from serving.errors import ServingError


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
        raise ChainBroken("data", "; ".join(changed))
    return f"{layout.raw} is what dvc.lock was made from"


def _lock(layout: Layout) -> str:
    # What is wrong with the bundle is for the next link to say, which knows the file.
    changed = [reason for reason in stale(layout.model) if layout.bundle.as_posix() not in reason]
    if changed:
        raise ChainBroken("dvc.lock", "; ".join(changed))
    stages = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    out = stages[f"export@{layout.model}"]["outs"][0]
    return f"code, params and data are those of dvc.lock; bundle {out['md5']}"


def _bundle(layout: Layout) -> str:
    bundle = Bundle.open(layout.bundle)
    measured = json.loads(layout.metrics.read_text(encoding="utf-8"))["digest"]
    if bundle.digest != measured:
        found = f"{layout.bundle / MANIFEST} has digest {bundle.digest}"
        raise ChainBroken("bundle", f"{found}, {layout.metrics} measured {measured}")
    bundle.verify()
    return f"{layout.bundle}: {len(bundle.manifest.files)} files as in the manifest, digest {bundle.digest}"


def _registry(layout: Layout, registry: Registry) -> str:
    digest = pins.read(layout.pin).digest
    version = registry.get(layout.model, digest)
    name = f"models:/{layout.model}/{version.number}"
    with registry.downloaded(layout.model, digest) as folder:
        try:
            bundle = Bundle.open(folder)
            if bundle.digest != digest:
                raise ChainBroken(
                    "registry", f"{name}: {MANIFEST} was changed, its digest is {bundle.digest}"
                )
            bundle.verify(bytecode=False)
        except ServingError as error:
            # The download is a temporary copy; the file is known by its name in the version.
            raise ChainBroken("registry", f"{name}: {str(error).replace(f'{folder}/', '')}") from error
    return f"{name} at {registry.shown} has the same bytes"


def _pin(layout: Layout, registry: Registry) -> str:
    pin = pins.read(layout.pin)
    version = registry.get(pin.name, pin.digest)
    if pin.version not in version.numbers:
        raise ChainBroken(
            "pin", f"{layout.pin} says version {pin.version}, the registry says {version.number}"
        )
    champion = registry.champion(layout.model)
    if champion is None or champion.digest != pin.digest:
        held = "nothing" if champion is None else f"version {champion.number}"
        raise ChainBroken("pin", f"{layout.pin} pins version {pin.version}, but the alias champion is {held}")
    opened = Bundle.open(layout.bundle)
    if opened.digest != pin.digest:
        raise ChainBroken(
            "pin", f"{layout.pin} pins {pin.digest[:12]}, the workspace has {opened.digest[:12]}"
        )
    return f"{layout.pin}: version {pin.version}, champion in the registry, and the bundle of the workspace"
