"""One model as the report sees it: what it is now, on main, and as it is served."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.layout import Layout
from pipeline.report.comparison import Answers
from pipeline.report.evidence import Evidence
from pipeline.report.records import Machine
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin

# What is served and, where a change moves the pin, what will be.
PINNED, NEWLY = "pinned", "newly pinned"


@dataclass(frozen=True)
class Side:
    """What the model of now is compared with."""

    name: str
    evidence: Evidence
    answers: Answers
    same: bool

    @property
    def called(self) -> str:
        """Its name in a sentence."""
        return f"the {self.name} version" if self.name in (PINNED, NEWLY) else self.name


@dataclass(frozen=True)
class Subject:
    """A model that was measured. `pin` is the workspace's, `served` the one of the commit to compare with.

    `unreadable`: one of these two pins is not as promote writes it, so what is pinned cannot be told.
    `stale` are reasons why dvc.lock is out of date, `notes` sentences about what could not be compared.
    """

    layout: Layout
    now: Evidence
    stale: Sequence[str]
    base: Side | None
    pinned: Sequence[Side]
    pin: Pin | None
    served: Pin | None
    unreadable: bool
    bundle: Bundle | None
    machine: Machine | None
    notes: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> bool:
        """Is there nothing that anybody has to look at?"""
        quiet = not self.stale and not self.mismatch and not self.unreadable and self.now.metrics.gate.passed
        return quiet and self.base is not None and self.base.same and self.pin == self.served

    @property
    def mismatch(self) -> bool:
        """Are the figures those of another bundle than the one that lies here?"""
        return self.bundle is not None and self.bundle.digest != self.now.metrics.digest

    @property
    def sides(self) -> list[Side]:
        """What it is compared with: main, and what is pinned if that is neither main's model nor this one."""
        return [*([self.base] if self.base else []), *self.pinned]

    @property
    def other(self) -> Side | None:
        """The first of them that is another model than this, or answers otherwise."""
        return next((side for side in self.sides if not side.same), None)
