"""The first lines about a model: the gate's decision, the compared accuracy, and warnings."""

from dataclasses import dataclass
from enum import IntEnum

from pipeline.markdown import code, code_list
from pipeline.report.formatting import p_value, percent_with_interval, short_digest
from pipeline.report.model_comparison import NEWLY_PINNED, ModelComparison, Reference
from serving.artifact.pin import Pin


class Status(IntEnum):
    """Sorted by urgency: models that need attention come first."""

    REFUSED = 0
    DOUBTFUL = 1
    PASSED = 2
    UNCHANGED = 3


ICONS = {Status.REFUSED: "❌", Status.DOUBTFUL: "⚠️", Status.PASSED: "✅", Status.UNCHANGED: "✅"}


@dataclass(frozen=True)
class Verdict:
    """A line of Markdown, and notes that are listed below it."""

    status: Status
    line: str
    notes: list[str]


def unmeasured_verdict(model: str, reason: str) -> Verdict:
    """For a model whose results are missing or damaged."""
    return Verdict(Status.DOUBTFUL, f"⚠️ **{model}: not measured.** {reason}", [])


def model_verdict(comparison: ModelComparison) -> Verdict:
    status, summary = _status(comparison)
    checks = sorted(comparison.current.metrics.gate.checks.items())
    failed = [f"{name}: {check.reason}" for name, check in checks if not check.passed]
    reasons = f"{code_list(failed)}. " if failed else ""
    line = f"{ICONS[status]} **{comparison.layout.model}: {summary}.** {reasons}{_accuracy(comparison)}."
    return Verdict(status, line, [*_warnings(comparison), *_pin_notes(comparison), *comparison.notes])


def _status(comparison: ModelComparison) -> tuple[Status, str]:
    if not comparison.current.metrics.gate.passed:
        return Status.REFUSED, "refused"
    if comparison.bundle_differs or comparison.stale:
        return Status.DOUBTFUL, "out of date"
    if comparison.pin_unreadable:
        return Status.DOUBTFUL, "passed, but a pin cannot be read"
    # A newly pinned version that is better, as after a rollback, is no reason for doubt.
    served = [reference for reference in comparison.references if reference.name != NEWLY_PINNED]
    if any(reference.paired.significantly_worse for reference in served):
        return Status.DOUBTFUL, "passed, but worse"
    return (Status.UNCHANGED, "unchanged") if comparison.unchanged else (Status.PASSED, "passed")


def _accuracy(comparison: ModelComparison) -> str:
    metrics = comparison.current.metrics
    parts = [f"top-1 {percent_with_interval(metrics.top1, metrics.top1_interval)}"]
    return ", ".join([*parts, *map(_compared_with, comparison.references)])


def _compared_with(reference: Reference) -> str:
    name, paired = reference.phrase, reference.paired
    lost, gained, images = paired.counts
    if reference.same:
        return f"the same model as {name}"
    if not images:
        return f"no image in common with {name}"
    if not lost + gained:
        return f"correct on the same images as {name}"
    better = "better" if gained > lost else "worse"
    verdict = f"significantly {better} than" if paired.significant else "no significant difference from"
    return f"{verdict} {name} ({lost:,} lost, {gained:,} gained, {p_value(paired.p_value)})"


def _warnings(comparison: ModelComparison) -> list[str]:
    """Reasons why the results may not be those of the code, params, data and bundle in the workspace."""
    warnings = []
    if comparison.bundle and comparison.bundle_differs:
        warnings.append(
            f"The figures are those of {short_digest(comparison.current.metrics.digest)}, the bundle of the "
            f"workspace is {short_digest(comparison.bundle.digest)}: `dvc repro` measures it."
        )
    if comparison.stale:
        reasons = code_list(comparison.stale)
        warnings.append(f"`dvc.lock` does not match code, params and data; `make run` updates it: {reasons}")
    machine = comparison.machine
    # The gate's checks in metrics.json do not contain this, so that they are the same on every machine.
    if machine is not None and machine.against_pinned.startswith("NOT compared"):
        warnings.append(f"The gate on this machine: {code(machine.against_pinned, 300)}")
    return warnings


def _pin_notes(comparison: ModelComparison) -> list[str]:
    """How the change affects the pinned version."""
    pin, before = comparison.pin, comparison.base_pin
    if comparison.pin_unreadable:
        path = code(str(comparison.layout.pin))
        return [f"What this change pins is unknown: {path} is invalid, here or at the commit compared with."]
    if pin == before:
        other = pin is not None and pin.digest != comparison.current.metrics.digest
        return (
            [f"This leaves {_version(pin)} pinned: this model is not the one that is served."]
            if pin and other
            else []
        )
    if pin is None:
        return ["This removes the pin."]
    if before is None:
        return [f"This pins {_version(pin)}; nothing was pinned before."]
    return [f"This pins {_version(pin)} instead of {_version(before)}."]


def _version(pin: Pin) -> str:
    return f"version {pin.version} ({short_digest(pin.digest)})"
