"""The first line about a model: may it go, and is it better?"""

from dataclasses import dataclass
from enum import IntEnum

from pipeline.markdown import code, code_list
from pipeline.report.subject import NEWLY, Side, Subject
from pipeline.report.wording import judgement, with_interval
from serving.artifact.pin import Pin


class Mood(IntEnum):
    """What wants most attention comes first."""

    REFUSED = 0
    DOUBTFUL = 1
    PASSED = 2
    UNCHANGED = 3


ICONS = {Mood.REFUSED: "❌", Mood.DOUBTFUL: "⚠️", Mood.PASSED: "✅", Mood.UNCHANGED: "✅"}


@dataclass(frozen=True)
class Verdict:
    """A line, and what has to be known beside it."""

    mood: Mood
    line: str
    notes: list[str]


def unmeasured(model: str, reason: str) -> Verdict:
    """Of a model whose reports are not there, or are damaged."""
    return Verdict(Mood.DOUBTFUL, f"⚠️ **{model}: not measured.** {reason}", [])


def verdict(subject: Subject) -> Verdict:
    """Of a model that was measured."""
    mood, word = _mood(subject)
    failed = [
        f"{name}: {check.reason}"
        for name, check in sorted(subject.now.metrics.gate.checks.items())
        if not check.passed
    ]
    reasons = f"{code_list(failed)}. " if failed else ""
    line = f"{ICONS[mood]} **{subject.layout.model}: {word}.** {reasons}{_figures(subject)}."
    return Verdict(mood, line, [*_doubts(subject), *_pin(subject), *subject.notes])


def _mood(subject: Subject) -> tuple[Mood, str]:
    if not subject.now.metrics.gate.passed:
        return Mood.REFUSED, "refused"
    if subject.mismatch or subject.stale:
        return Mood.DOUBTFUL, "out of date"
    if subject.unreadable:
        return Mood.DOUBTFUL, "passed, but a pin cannot be read"
    if any(worse(side) for side in subject.sides if side.name != NEWLY):
        return Mood.DOUBTFUL, "passed, but worse"
    return (Mood.UNCHANGED, "unchanged") if subject.unchanged else (Mood.PASSED, "passed")


def worse(side: Side) -> bool:
    """Significantly so?"""
    lost, gained, _ = side.answers.counts
    return side.answers.significant and lost > gained


def _figures(subject: Subject) -> str:
    metrics = subject.now.metrics
    parts = [f"top-1 {with_interval(metrics.top1, metrics.top1_interval)}"]
    for side in subject.sides:
        same = f"the same model as {side.called}"
        parts.append(same if side.same else judgement(side.answers, side.called))
    return ", ".join(parts)


def _doubts(subject: Subject) -> list[str]:
    """Why the figures may not be those of what lies here."""
    doubts = []
    if subject.mismatch and subject.bundle is not None:
        doubts.append(
            f"The figures are those of {digest(subject.now.metrics.digest)}, the bundle of the workspace is "
            f"{digest(subject.bundle.digest)}: `dvc repro` measures it."
        )
    if subject.stale:
        said = code_list(subject.stale)
        doubts.append(f"`dvc.lock` is not what code, params and data say, `make run` makes it so: {said}")
    machine = subject.machine
    # The gate says nothing of it: what stands in git is the same whatever it was compared with.
    if machine is not None and machine.against_pinned.startswith("NOT compared"):
        doubts.append(f"The gate on this machine: {code(machine.against_pinned, 300)}")
    return doubts


def _pin(subject: Subject) -> list[str]:
    """What becomes of what is served."""
    pin, served = subject.pin, subject.served
    if subject.unreadable:
        return [
            f"What this pins cannot be told: {code(str(subject.layout.pin))} cannot be read, here or there."
        ]
    if pin == served:
        other = pin is not None and pin.digest != subject.now.metrics.digest
        return [f"Pinned stays {_version(pin)}: this model is not what is served."] if pin and other else []
    if pin is None or served is None:
        return [f"This pins {_version(pin)}; nothing was pinned before." if pin else "This removes the pin."]
    return [f"This pins {_version(pin)} instead of {_version(served)}."]


def _version(pin: Pin) -> str:
    return f"version {pin.version} ({digest(pin.digest)})"


def digest(text: str) -> str:
    """The part of a digest that people compare."""
    return code(text[:12])
