"""Targets: a measured figure beside the one that was to be reached."""

from dataclasses import dataclass

from benchmarks.documents import markdown_table


@dataclass(frozen=True)
class Target:
    """One row of a table of targets. `missed_by` is a share of the target, 0.1 for 10 %."""

    what: str
    target: str
    measured: str
    met: bool
    missed_by: float

    @property
    def verdict(self) -> str:
        return "met" if self.met else f"missed by {100 * self.missed_by:.0f} %"


def at_least(what: str, bound: float, value: float) -> Target:
    """A ratio with a lower bound."""
    return Target(what, f"≥ {bound:g} x", f"{value:.2f} x", value >= bound, 1 - value / bound)


def at_most(what: str, bound: float, value: float, unit: str) -> Target:
    """A figure with an upper bound."""
    return Target(what, f"≤ {bound:g} {unit}", f"{value:.1f} {unit}", value <= bound, value / bound - 1)


def fraction(what: str, parts: float, value: float) -> Target:
    """A ratio of at most 1/parts."""
    missed = parts * value - 1
    return Target(what, f"≤ 1/{parts:g}", f"1/{1 / value:.1f}", missed <= 0, missed)


def target_table(targets: list[Target]) -> str:
    """A Markdown table."""
    rows = [(row.what, row.target, row.measured, row.verdict) for row in targets]
    return markdown_table(["", "target", "measured", ""], rows)
