"""From what the rounds found out to what is reported: medians, ratios, and targets. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.serving.contender import LIMIT, OURS, PEER, TUTORIAL
from benchmarks.serving.load import Load
from benchmarks.serving.project import EIGHT, FLOAT
from benchmarks.serving.visit import Visit

# Of the clients that are compared by ratios.
CLIENTS = "8"
Row = dict[str, Any]


def summary(visits: Sequence[Visit]) -> Row:
    """Medians of all rounds; errors are added up, and answers are those of the round that asked."""
    answers = next((visit.answers for visit in visits if visit.answers), None)
    return {
        "start_seconds": _median([visit.start_seconds for visit in visits], 2),
        "idle_mb": _median([visit.idle_mb for visit in visits], 0),
        "load_mb": _median([visit.load_mb for visit in visits], 0),
        "clients": {
            str(clients): medians([visit.loads[clients] for visit in visits]) for clients in visits[0].loads
        },
        "answers": asdict(answers) if answers else None,
    }


def medians(loads: Sequence[Load]) -> Row:
    """Of the same load in all rounds."""
    return {
        "rate": _median([load.rate for load in loads], 1),
        "p50_ms": _median([load.p50 for load in loads], 1),
        "p99_ms": _median([load.p99 for load in loads], 1),
        "errors": sum(load.errors for load in loads),
        "rates": [round(load.rate, 1) for load in loads],
    }


def _median(values: Sequence[float], digits: int) -> float:
    return round(statistics.median(values), digits)


def rate(row: Row) -> float:
    """Requests per second at eight clients; of the limit, which has none, what its threads do."""
    clients = row["clients"]
    return float(clients[CLIENTS if CLIENTS in clients else "0"]["rate"])


def measured(rows: Sequence[Row], kind: str, precision: str | None = None) -> list[Row]:
    """The rows of a kind that did not fail, of one precision or of all."""
    return [
        row
        for row in rows
        if row["kind"] == kind and "failed" not in row and precision in (None, row["precision"])
    ]


@dataclass(frozen=True)
class Target:
    """A row of the targets: what was to be reached, what was, and whether that is enough."""

    what: str
    target: str
    measured: str
    met: bool
    missed_by: float

    @property
    def verdict(self) -> str:
        return "met" if self.met else f"missed by {100 * self.missed_by:.0f} %"


def at_least(what: str, bound: float, value: float) -> Target:
    """A ratio that should be as large."""
    return Target(what, f"≥ {bound:g} x", f"{value:.2f} x", value >= bound, 1 - value / bound)


def at_most(what: str, bound: float, value: float, unit: str) -> Target:
    """A figure that should be as small."""
    return Target(what, f"≤ {bound:g} {unit}", f"{value:.1f} {unit}", value <= bound, value / bound - 1)


def share(what: str, parts: float, value: float) -> Target:
    """A figure that should be at most one part of so many; shown as 1/parts."""
    missed = parts * value - 1
    return Target(what, f"≤ 1/{parts:g}", f"1/{1 / value:.1f}", missed <= 0, missed)


def targets(rows: Sequence[Row]) -> list[Target]:
    """All that can be told from the rows that were measured."""
    found: list[Target] = []
    own = measured(rows, OURS)
    if not own:
        return found
    default, same = own[0], measured(rows, OURS, FLOAT)
    for other in measured(rows, TUTORIAL):
        found.append(at_least("requests/s against the tutorial's app", 30, rate(default) / rate(other)))
        found.append(share("memory under load against the same", 20, default["load_mb"] / other["load_mb"]))
    for row in own:
        for other in measured(rows, LIMIT, row["precision"]):
            what = f"requests/s of {row['name']} against the limit of the same bundle"
            found.append(at_least(what, 0.85, rate(row) / rate(other)))
    if peers := measured(rows, PEER):
        best = max(peers, key=rate)
        what = f"{default['name']} against the best of the others, {best['name']}"
        found.append(at_least(what, 1.5, rate(default) / rate(best)))
        for row in same:
            found.append(at_least(f"{row['name']} against {best['name']}", 1.1, rate(row) / rate(best)))
            found.append(share("memory under load of the same two", 2, row["load_mb"] / best["load_mb"]))
    found.append(at_most("from start to the first right answer", 1.5, default["start_seconds"], "s"))
    if default["precision"] == EIGHT and same and default["answers"] and same[0]["answers"]:
        asked = default["answers"]["asked"]
        lost = 100 * (same[0]["answers"]["right"] - default["answers"]["right"]) / asked
        found.append(at_most(f"top-1 of {asked} photos lost by 8 bit", 0.5, lost, "points"))
    return found
