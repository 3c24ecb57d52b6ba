"""How many of each a server may have: cores, processes, slots, and threads in each prediction."""

import sys
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.serving.contender import Contender
from benchmarks.serving.contenders import ours
from benchmarks.serving.cores import pinned, usable
from benchmarks.serving.project import Project

CORES, PROCESSES, SLOTS, THREADS = (1, 2), (1, 2), (1, 2, 3, 4), (1, 2)


@dataclass(frozen=True)
class Counts:
    """One combination. `slots` are those of each process, `threads` those of each prediction."""

    cores: int
    processes: int
    slots: int
    threads: int

    @property
    def sensible(self) -> bool:
        """Can it be compared with the others?"""
        # On one core two threads would only take turns.
        parallel = self.threads <= self.cores
        # One process is not tried with more images in work either.
        return parallel and self.processes * self.slots <= max(SLOTS)

    def __str__(self) -> str:
        return ", ".join(
            counted(number, noun)
            for number, noun in (
                (self.cores, "core"),
                (self.processes, "process"),
                (self.slots, "slot"),
                (self.threads, "thread"),
            )
        )


def combinations(cores: float) -> list[Counts]:
    """All that are tried where so many cores may be used."""
    every = (Counts(*numbers) for numbers in product(CORES, PROCESSES, SLOTS, THREADS))
    return [counts for counts in every if counts.sensible and counts.cores <= max(1, cores)]


def contender(counts: Counts, project: Project) -> Contender:
    """One process of a combination; several are several servers, for this one has one process by design."""
    one = ours(project.default, project.root / "reports", GOLDFISH_SLOTS=str(counts.slots))
    command = [sys.executable, "-m", "benchmarks.serving.launcher", str(counts.threads)]
    return pinned(replace(one, command=lambda place: command), usable(counts.cores))


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
