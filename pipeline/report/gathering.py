"""Gathers all that there is about one model, from the workspace and from git."""

from collections.abc import Sequence
from contextlib import suppress

from pipeline.errors import FileDamaged
from pipeline.layout import Layout
from pipeline.markdown import code, code_list
from pipeline.report import evidence, repository
from pipeline.report.base import Base, short
from pipeline.report.comparison import answers, same
from pipeline.report.evidence import Evidence
from pipeline.report.records import Machine
from pipeline.report.renewal import renewed
from pipeline.report.subject import NEWLY, PINNED, Side, Subject
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import BundleError, BundleMissing, PinInvalid


def gather(layout: Layout, base: Base, stale: Sequence[str]) -> Subject | str:
    """The model; for one that was not measured, the sentence that says so."""
    try:
        now = evidence.collect(evidence.workspace, layout)
    except FileDamaged as error:
        return code(str(error), 300)
    if now is None:
        run = f"`make run MODEL={layout.model}`"
        return f"There is no {code(str(layout.metrics))}; {run} builds and measures it."
    notes: list[str] = []
    if fresh := renewed(layout.model):
        notes.append(
            f"The committed `dvc.lock` is out of date, commit what `make run` makes of it: {code_list(fresh)}"
        )
    before = _before(layout, base, notes)
    pin, unreadable = _pin(evidence.workspace, layout, notes)
    served = pin
    if base.commit is not None:
        served, broken = _pin(evidence.at(base.commit), layout, [])
        unreadable = unreadable or broken
    return Subject(
        layout,
        now,
        stale,
        base=None if before is None else _side(base.name, before, now),
        pinned=_pinned(layout, (served, pin), {it.metrics.digest for it in (now, before) if it}, now, notes),
        pin=pin,
        served=served,
        unreadable=unreadable,
        bundle=_bundle(layout, notes),
        machine=_machine(layout, now.metrics.digest),
        notes=notes,
    )


def _side(name: str, then: Evidence, now: Evidence) -> Side:
    return Side(name, then, answers(then.predictions, now.predictions), same(then, now))


def _before(layout: Layout, base: Base, notes: list[str]) -> Evidence | None:
    if base.commit is None:
        return None
    try:
        before = evidence.collect(evidence.at(base.commit), layout)
    except FileDamaged:
        notes.append(f"What {short(base.commit)} says of this model cannot be read.")
        return None
    if before is None:
        notes.append(f"This model is new: {short(base.commit)} has no reports of it.")
    return before


def _pin(read: evidence.Read, layout: Layout, notes: list[str]) -> tuple[Pin | None, bool]:
    """The pin, and whether there is one that cannot be read."""
    data = read(layout.pin)
    try:
        return (None if data is None else Pin.parse(data, layout.pin)), False
    except PinInvalid as error:
        notes.append(code(str(error), 300))
        return None, True


def _pinned(
    layout: Layout, pins: tuple[Pin | None, Pin | None], seen: set[str], now: Evidence, notes: list[str]
) -> list[Side]:
    """What the versions were measured to be that are pinned, before and now, unless the report has them."""
    served, pin = pins
    sides = []
    for name, it in ((PINNED, served or pin), (NEWLY, pin if served else None)):
        if it is None or it.digest in seen:
            continue
        seen = {*seen, it.digest}
        found = _measured(layout, it.digest)
        if found is None:
            notes.append(f"The {name} version's figures are not in git's history.")
        else:
            sides.append(_side(name, found, now))
    return sides


def _measured(layout: Layout, digest: str) -> Evidence | None:
    """The newest figures of a digest that were committed."""
    for commit in repository.touched(layout.metrics.as_posix()):
        read = evidence.at(commit)
        with suppress(FileDamaged):
            if evidence.metrics(read, layout).digest == digest:
                return evidence.collect(read, layout)
    return None


def _bundle(layout: Layout, notes: list[str]) -> Bundle | None:
    try:
        return Bundle.open(layout.bundle)
    except BundleMissing:
        return None
    except BundleError as error:
        notes.append(code(str(error), 300))
        return None


def _machine(layout: Layout, digest: str) -> Machine | None:
    """What was measured on this machine, if it was this digest; the file is not in git, so it may be old."""
    with suppress(FileDamaged):
        machine = evidence.machine(evidence.workspace, layout)
        return machine if machine.digest == digest else None
    return None
