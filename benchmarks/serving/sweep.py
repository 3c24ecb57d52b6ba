"""Compares numbers of processes, slots and threads: `python -m benchmarks.serving.sweep`.

Reads a project in which `make run MODEL=imagenet` was done. Measures this server with each combination on one
core and on two. Writes `benchmarks/sweep.json` and a table in `docs/performance.md`.
"""

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import product

import psutil

from benchmarks.command_line import Run, measure_and_write, print_progress, project_parser
from benchmarks.documents import PERFORMANCE, ROOT, replace_section, write_json
from benchmarks.interference import check_undisturbed, undisturbed
from benchmarks.serving.conditions import run_conditions
from benchmarks.serving.contenders import Contender, goldfish
from benchmarks.serving.load_generator import Load, wrk_version
from benchmarks.serving.measurement import running
from benchmarks.serving.project import Project, find_project
from benchmarks.serving.schedule import shuffled_rounds
from benchmarks.serving.statistics import Row, median, row_interference, summarise_loads
from benchmarks.serving.sweep_table import table
from benchmarks.serving.verification import Reference
from serving.cpu_count import available_cores

RESULTS = ROOT / "benchmarks/sweep.json"
CORES, PROCESSES, SLOTS, THREADS = (1, 2), (1, 2), (1, 2, 3, 4), (1, 2)
# All combinations together take less than six minutes.
ROUNDS, SECONDS = 3, 3.0
# The minimum of wrk; it is enough for dozens of photos in every slot.
WARM_UP_SECONDS = 1.0
CLIENTS = 8


@dataclass(frozen=True)
class Combination:
    """`slots` is the number in each process, `threads` the number in each prediction."""

    cores: int
    processes: int
    slots: int
    threads: int

    @property
    def comparable(self) -> bool:
        """At most as many threads as cores, and at most as many slots in all as one process may have."""
        return self.threads <= self.cores and self.processes * self.slots <= max(SLOTS)

    @property
    def core_numbers(self) -> list[int]:
        """The first ones that this process may use."""
        return sorted(os.sched_getaffinity(0))[: self.cores]


@dataclass(frozen=True)
class Measurement:
    """The figures of one combination in one round. Memory is PSS of all processes, MB; idle is 0 to 1."""

    load: Load
    load_mb: float
    idle: float


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = project_parser("benchmarks.serving.sweep", "Compares numbers of processes, slots and threads.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    options = parser.parse_args(arguments)

    def measure() -> Run:
        wrk_version()
        project = find_project(options.project)
        return sweep(project, combinations(available_cores()), options.rounds, options.seconds)

    return measure_and_write(measure, write)


def combinations(cores: float) -> list[Combination]:
    """The comparable combinations on a machine with so many cores."""
    every = (Combination(*numbers) for numbers in product(CORES, PROCESSES, SLOTS, THREADS))
    return [each for each in every if each.comparable and each.cores <= max(1, cores)]


def sweep(project: Project, combinations: Sequence[Combination], rounds: int, seconds: float) -> Run:
    """Measures every combination; returns medians."""
    reference = Reference.predict(project.default, project.accuracy_photos)
    measurements: dict[Combination, list[Measurement]] = {each: [] for each in combinations}
    for _, combination in shuffled_rounds(combinations, rounds, str):
        measured = measure(combination, project, reference, seconds)
        measurements[combination].append(measured)
        print_progress(f"{measured.load.rate:.0f}/s")
    return run_conditions(project, rounds, seconds) | {
        "clients": CLIENTS,
        "bundle": {"digest": project.default.digest, "precision": project.default.precision},
        "counts": [asdict(each) | summarise(measured) for each, measured in measurements.items()],
    }


def measure(combination: Combination, project: Project, reference: Reference, seconds: float) -> Measurement:
    """Loads as many servers as the combination has processes, because one server has only one process."""
    contender = server(combination, project)
    with ExitStack() as stack:
        first, *others = [
            stack.enter_context(running(contender, project.load_photos, reference))
            for _ in range(combination.processes)
        ]
        first.load(CLIENTS, WARM_UP_SECONDS, others)

        def attempt() -> Measurement:
            idle_percent(combination.core_numbers)
            load, memory = first.load(CLIENTS, seconds, others)
            return Measurement(load, memory, idle_percent(combination.core_numbers) / 100)

        measured, seen = undisturbed(attempt)
        return replace(measured, load=replace(measured.load, interference=seen))


def combination_name(row: Row) -> str:
    """A combination in an error."""
    counts = ("cores", "processes", "slots", "threads")
    return ", ".join(f"{row[name]} {name}" for name in counts)


def idle_percent(cores: Sequence[int]) -> float:
    """Mean idle time of some cores since the last call."""
    times = psutil.cpu_times_percent(percpu=True)
    return statistics.mean(times[core].idle + times[core].iowait for core in cores)


def server(combination: Combination, project: Project) -> Contender:
    """One process of a combination, pinned to its cores."""
    cores = ",".join(map(str, combination.core_numbers))
    module = "benchmarks.serving.serve_with_threads"
    command = [*("taskset", "--cpu-list", cores), sys.executable, "-m", module, str(combination.threads)]
    contender = goldfish(project, project.default, GOLDFISH_SLOTS=str(combination.slots))
    return replace(contender, command=command)


def summarise(rounds: Sequence[Measurement]) -> Row:
    """Medians over the rounds."""
    return summarise_loads([measured.load for measured in rounds]) | {
        "load_mb": round(median((measured.load_mb for measured in rounds), 0)),
        "idle": median((measured.idle for measured in rounds), 2),
    }


def write(run: Run) -> None:
    """Writes the results, and shows them in the document. Raises `Disturbed` instead if others disturbed."""
    shares = {combination_name(row): row_interference(row) for row in run["counts"]}
    check_undisturbed(shares, table(run))
    write_json(RESULTS, run)
    replace_section(PERFORMANCE, "sweep", table(run))


if __name__ == "__main__":
    sys.exit(main())
