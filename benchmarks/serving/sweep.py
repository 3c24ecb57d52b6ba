"""Which counts serve most: `python -m benchmarks.serving.sweep`.

Reads a project in which `make run MODEL=imagenet` was done. Tries processes, slots and threads in each
prediction on one core and on two, and writes `benchmarks/sweep.json` and a table in `docs/performance.md`.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from benchmarks.documents import show
from benchmarks.serving import findings, load, project
from benchmarks.serving.asking import Reference
from benchmarks.serving.command import Run, carry_out, parser
from benchmarks.serving.cores import clocks, idle_share, usable
from benchmarks.serving.counts import Counts, combinations, contender
from benchmarks.serving.figures import Row, medians
from benchmarks.serving.load import Load
from benchmarks.serving.machine import circumstances
from benchmarks.serving.project import Project
from benchmarks.serving.results import MANUAL, SWEEP
from benchmarks.serving.rounds import in_turn
from benchmarks.serving.visit import running
from serving.cpu_count import available

# So that all of it takes less than six minutes.
ROUNDS, SECONDS = 3, 3.0
# The least that wrk does; every slot has answered dozens of photos then.
WARM_UP = 1.0
CLIENTS = 8


@dataclass(frozen=True)
class Seen:
    """What one round found out: also PSS of all processes, MB, and how idle the cores were, 0 to 1."""

    load: Load
    megabytes: float
    idle: float


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes; 1 and a sentence if something is missing."""
    options = parser(
        "benchmarks.serving.sweep", "Tries the server's counts.", rounds=f"{ROUNDS}", seconds=f"{SECONDS:g}"
    ).parse_args(arguments)

    def measured() -> Run:
        load.check()
        found, tried = project.find(options.project), combinations(available())
        return measure(found, tried, options.rounds or ROUNDS, options.seconds or SECONDS)

    return carry_out(measured, write)


def measure(found: Project, tried: Sequence[Counts], rounds: int, seconds: float) -> Run:
    """The medians of each combination."""
    reference = Reference.of(found.default, found.asked)
    seen: dict[Counts, list[Seen]] = {counts: [] for counts in tried}
    for _, counts in in_turn(tried, rounds, str):
        seen[counts].append(visit(counts, found, reference, seconds))
        print(f"    {seen[counts][-1].load.rate:.0f}/s", flush=True)
    return circumstances(found, rounds, seconds) | {
        "clients": CLIENTS,
        "bundle": {"digest": found.default.digest, "precision": found.default.precision},
        "counts": [asdict(counts) | summary(visits) for counts, visits in seen.items()],
    }


def visit(counts: Counts, found: Project, reference: Reference, seconds: float) -> Seen:
    """Starts so many servers, and asks all of them at once."""
    one, cores = contender(counts, found), usable(counts.cores)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(one, found.sent, reference)) for _ in range(counts.processes)]
        first, *beside = servers
        first.load(CLIENTS, WARM_UP, beside)
        before = clocks(cores)
        load, megabytes = first.load(CLIENTS, seconds, beside)
        return Seen(load, megabytes, idle_share(before, clocks(cores)))


def summary(visits: Sequence[Seen]) -> Row:
    """Of all rounds."""
    return medians([seen.load for seen in visits]) | {
        "load_mb": round(statistics.median(seen.megabytes for seen in visits)),
        "idle": round(statistics.median(seen.idle for seen in visits), 2),
    }


def write(run: Run) -> None:
    """Puts a run into its file, and shows it."""
    SWEEP.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    show(MANUAL, "sweep", findings.table(run))
    print(findings.table(run))


if __name__ == "__main__":
    sys.exit(main())
