"""Compares a model in the workspace with the base commit's model and with the pinned versions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.errors import FileDamaged
from pipeline.layout import Layout
from pipeline.markdown import code, code_list
from pipeline.report import git_history
from pipeline.report.comparison_base import ComparisonBase
from pipeline.report.differences import PairedPredictions, pair_predictions, same_results
from pipeline.report.formatting import short_commit
from pipeline.report.lock_changes import renewed_lock_entries
from pipeline.report.results import (
    MachineResults,
    Metrics,
    ReadFile,
    Results,
    files_at,
    parse,
    read_results,
    workspace_file,
)
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import BundleError, BundleMissing, PinInvalid

# The version that the base commit pins, and the one that this change pins instead.
PINNED, NEWLY_PINNED = "pinned", "newly pinned"


@dataclass(frozen=True)
class Reference:
    """A model that the workspace's model is compared with. `name` is used in column headings."""

    name: str
    results: Results
    paired: PairedPredictions
    same: bool

    @property
    def phrase(self) -> str:
        """The name within a sentence."""
        return f"the {self.name} version" if self.name in (PINNED, NEWLY_PINNED) else self.name


@dataclass(frozen=True)
class ModelComparison:
    """An evaluated model and what it is compared with.

    `pin` is the workspace's, `base_pin` the base commit's; `pin_unreadable` if either is invalid.
    `pinned` has the pinned versions that are neither the workspace's nor the base commit's model.
    `stale` lists why dvc.lock is out of date, `notes` what could not be read or compared.
    """

    layout: Layout
    current: Results
    stale: Sequence[str]
    base: Reference | None
    pinned: Sequence[Reference]
    pin: Pin | None
    base_pin: Pin | None
    pin_unreadable: bool
    bundle: Bundle | None
    machine: MachineResults | None
    notes: Sequence[str]

    @property
    def unchanged(self) -> bool:
        """Whether model and pin equal the base commit's and nothing needs attention."""
        doubtful = self.stale or self.bundle_differs or self.pin_unreadable
        passed = self.current.metrics.gate.passed and not doubtful
        return passed and self.base is not None and self.base.same and self.pin == self.base_pin

    @property
    def bundle_differs(self) -> bool:
        """Whether the results are those of another bundle than the workspace's."""
        return self.bundle is not None and self.bundle.digest != self.current.metrics.digest

    @property
    def references(self) -> list[Reference]:
        return [*([self.base] if self.base else []), *self.pinned]

    @property
    def changed_reference(self) -> Reference | None:
        """The first reference with other results; its classes and predictions are shown."""
        return next((reference for reference in self.references if not reference.same), None)


def compare_model(layout: Layout, base: ComparisonBase, stale: Sequence[str]) -> ModelComparison | str:
    """Compares one model; without valid results in the workspace, a sentence that gives the reason."""
    try:
        current = read_results(workspace_file, layout)
    except FileDamaged as error:
        return code(str(error), 300)
    if current is None:
        run = f"`make run MODEL={layout.model}`"
        return f"There is no {code(str(layout.metrics))}; {run} builds and measures it."
    notes: list[str] = []
    if renewed := renewed_lock_entries(layout.model):
        text = "The committed `dvc.lock` is out of date; commit the one that `make run` writes"
        notes.append(f"{text}: {code_list(renewed)}")
    before = _base_results(layout, base, notes)
    pin, unreadable = _read_pin(workspace_file, layout, notes)
    base_pin, base_unreadable = pin, False
    if base.commit is not None:
        base_pin, base_unreadable = _read_pin(files_at(base.commit), layout, [])
    known = {results.metrics.digest for results in (current, before) if results}
    return ModelComparison(
        layout,
        current,
        stale,
        base=_reference(base.name, before, current) if before else None,
        pinned=_pinned_references(layout, base_pin, pin, known, current, notes),
        pin=pin,
        base_pin=base_pin,
        pin_unreadable=unreadable or base_unreadable,
        bundle=_open_bundle(layout, notes),
        machine=_machine_results(layout, current.metrics.digest),
        notes=notes,
    )


def _reference(name: str, results: Results, current: Results) -> Reference:
    paired = pair_predictions(results.predictions, current.predictions)
    return Reference(name, results, paired, same_results(results, current))


def _base_results(layout: Layout, base: ComparisonBase, notes: list[str]) -> Results | None:
    if base.commit is None:
        return None
    try:
        results = read_results(files_at(base.commit), layout)
    except FileDamaged:
        notes.append(f"At {short_commit(base.commit)}, the reports of this model cannot be read.")
        return None
    if results is None:
        notes.append(f"This model is new: {short_commit(base.commit)} has no reports of it.")
    return results


def _read_pin(read: ReadFile, layout: Layout, notes: list[str]) -> tuple[Pin | None, bool]:
    """The pin, and whether it is unreadable."""
    data = read(layout.pin)
    try:
        return (None if data is None else Pin.parse(data, layout.pin)), False
    except PinInvalid as error:
        notes.append(code(str(error), 300))
        return None, True


def _pinned_references(
    layout: Layout, base_pin: Pin | None, pin: Pin | None, known: set[str], current: Results, notes: list[str]
) -> list[Reference]:
    """The pinned versions whose digests are not `known`, with their results from git history."""
    references = []
    for name, candidate in ((PINNED, base_pin or pin), (NEWLY_PINNED, pin if base_pin else None)):
        if candidate is None or candidate.digest in known:
            continue
        known = {*known, candidate.digest}
        results = _committed_results(layout, candidate.digest)
        if results is None:
            notes.append(f"The {name} version's reports are not in git's history.")
        else:
            references.append(_reference(name, results, current))
    return references


def _committed_results(layout: Layout, digest: str) -> Results | None:
    """The newest committed results of the bundle with this digest."""
    for commit in git_history.commits_changing(layout.metrics.as_posix()):
        read = files_at(commit)
        with suppress(FileDamaged):
            if parse(read, layout.metrics, Metrics).digest == digest:
                return read_results(read, layout)
    return None


def _open_bundle(layout: Layout, notes: list[str]) -> Bundle | None:
    try:
        return Bundle.open(layout.bundle)
    except BundleMissing:
        return None
    except BundleError as error:
        notes.append(code(str(error), 300))
        return None


def _machine_results(layout: Layout, digest: str) -> MachineResults | None:
    """machine.json, if it is of this digest: it is not in git and so may be older than the other results."""
    with suppress(FileDamaged):
        machine = parse(workspace_file, layout.machine, MachineResults)
        return machine if machine.digest == digest else None
    return None
