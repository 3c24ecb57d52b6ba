"""Cores of this machine: how a server is kept on few of them, and what it leaves of them."""

import os
from collections.abc import Sequence
from dataclasses import replace

import psutil

from benchmarks.serving.contender import Contender


def usable(count: int | None = None) -> list[int]:
    """The numbers of the cores that we may use, or of so many of them."""
    return sorted(os.sched_getaffinity(0))[:count]


def pinned(contender: Contender, cores: Sequence[int]) -> Contender:
    """The same contender on these cores; whoever asks it stays on all."""
    prefix = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    return replace(contender, command=lambda place: [*prefix, *contender.command(place)])


def clocks(cores: Sequence[int]) -> tuple[float, float]:
    """Seconds that these cores have been idle, and all that they have counted."""
    times = psutil.cpu_times(percpu=True)
    idle = sum(times[core].idle + times[core].iowait for core in cores)
    # The kernel counts what guests take as user's time too.
    counted = sum(sum(times[core]) - times[core].guest - times[core].guest_nice for core in cores)
    return idle, counted


def idle_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Between two looks at the clocks, 0 to 1."""
    return (after[0] - before[0]) / (after[1] - before[1])
