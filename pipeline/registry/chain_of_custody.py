"""The chain of custody: data → dvc.lock → bundle → registry → pin. Each link compares digests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.errors import ChainBroken, PipelineError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.project.staleness import stale_reasons
from pipeline.registry.mlflow_files import verify_files
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.pin_signature import read_pin_signature
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import MANIFEST
from serving.artifact.pin import Pin
from serving.errors import ServingError

# Reasons that an error lists before it only counts the rest.
LISTED_REASONS = 5


@dataclass(frozen=True)
class ChainLink:
    """One link of the chain; `check` returns a description of the intact link, or raises."""

    name: str
    check: Callable[[], str]

    def verify(self) -> str:
        """Runs the check; any failure becomes a `ChainBroken` that names the link."""
        try:
            return self.check()
        except ChainBroken:
            raise
        except (PipelineError, ServingError, OSError) as error:
            raise ChainBroken(self.name, str(error)) from error


def chain_links(layout: Layout, connect: Callable[[], Registry]) -> Iterator[ChainLink]:
    """The links from the data to the pin, in order."""
    yield ChainLink("data", lambda: _check_data(layout))
    yield ChainLink("dvc.lock", lambda: _check_lock(layout))
    yield ChainLink("bundle", lambda: _check_bundle(layout))
    yield ChainLink("registry", lambda: _check_registry(layout, connect()))
    yield ChainLink("pin", lambda: _check_pin(layout, connect()))


def _check_data(layout: Layout) -> str:
    changed = [reason for reason in stale_reasons(layout.model) if reason.startswith("prepare@")]
    if changed:
        raise ChainBroken("data", _abbreviate(changed))
    if not layout.raw.exists():
        raise ChainBroken("data", f"{layout.raw} is not here")
    return f"{layout.raw} is what dvc.lock was made from"


def _check_lock(layout: Layout) -> str:
    # A changed bundle is left to the next link, which names the file.
    changed = [reason for reason in stale_reasons(layout.model) if layout.bundle.as_posix() not in reason]
    if changed:
        raise ChainBroken("dvc.lock", _abbreviate(changed))
    stage = f"export@{layout.model}"
    if stage not in yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]:
        raise ChainBroken("dvc.lock", f"it has no {stage}; `make run MODEL={layout.model}` builds it")
    return "code, params and data are those that it was made from"


def _check_bundle(layout: Layout) -> str:
    bundle = Bundle.open(layout.bundle)
    measured = read_json(layout.metrics).get("digest")
    if bundle.digest != measured:
        found = f"{layout.bundle / MANIFEST} has digest {bundle.digest}"
        raise ChainBroken("bundle", f"{found}, {layout.metrics} measured {measured}")
    bundle.check_name(layout.model)
    bundle.verify()
    return f"{layout.bundle}: {len(bundle.manifest.files)} files as in the manifest, digest {bundle.digest}"


def _check_registry(layout: Layout, registry: Registry) -> str:
    version = registry.get_by_digest(layout.model, Pin.read(layout.pin).digest)
    verify_files(registry, version)
    return f"{version.uri} at {registry.display_uri} has the same bytes"


def _check_pin(layout: Layout, registry: Registry) -> str:
    pin = Pin.read(layout.pin)
    version = registry.get_by_digest(pin.name, pin.digest)
    if pin.version not in version.accepted_numbers:
        raise ChainBroken(
            "pin", f"{layout.pin} says version {pin.version}, the registry says {version.number}"
        )
    champion = registry.champion(layout.model)
    if champion is None or champion.digest != pin.digest:
        named = "nothing" if champion is None else f"version {champion.number}"
        raise ChainBroken(
            "pin", f"{layout.pin} pins version {pin.version}, but the alias champion is {named}"
        )
    # After a rollback the workspace correctly has another bundle.
    workspace = Bundle.open(layout.bundle).digest
    where = (
        "the bundle of the workspace" if workspace == pin.digest else f"not the workspace's {workspace[:12]}"
    )
    signed = _check_signature(layout, pin)
    return f"{layout.pin}: version {pin.version}, champion in the registry, {where}{signed}"


def _check_signature(layout: Layout, pin: Pin) -> str:
    """What is added about the signature beside the pin. Whether its key is trusted, each server decides."""
    signature = read_pin_signature(layout)
    if signature is None:
        return ""
    if signature.digest != pin.digest:
        found = f"{layout.signature} is of {signature.digest[:12] or 'another model'}"
        advice = f"`python -m pipeline repair {layout.model}` mends that"
        raise ChainBroken("pin", f"{found}, not of the pinned {pin.digest[:12]}; {advice}")
    return f", its signature names the key {signature.key[:12] or '(none)'}"


def _abbreviate(reasons: list[str]) -> str:
    """The first reasons, and the number of the others."""
    rest = len(reasons) - LISTED_REASONS
    more = f"; and {rest} more, `python -m pipeline stale` lists them" if rest > 0 else ""
    return "; ".join(reasons[:LISTED_REASONS]) + more
