"""Notices what else uses the cores while something is measured, and measures it again. Linux only.

What others took is the busy time of the cores in `/proc/stat` without the CPU time of this process and its
descendants. The kernel keeps both without being asked, so that looking at them disturbs nothing.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.command_line import print_progress
from benchmarks.errors import Disturbed

PROC = Path("/proc")
# The unit of CPU time in the files below.
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Share of the cores' time that others may take. In 28 blocks of 3 s on two cores, most with a loaded server,
# what was found was at most half a point above the sum of the other processes' own times, else below it: what
# is ours does not count as theirs. One busy process takes a third to a half of two cores, and is seen on up
# to twenty.
TOLERATED = 0.05
# How often something is measured before a disturbed result is accepted.
TRIES = 3
Result = TypeVar("Result")


@dataclass(frozen=True)
class CoreTicks:
    """CPU time of some cores since the machine started, in ticks.

    `busy` is user, nice, system, irq and softirq; `stolen` is what the hypervisor gave to other machines.
    """

    busy: int
    stolen: int


@dataclass(frozen=True)
class ProcessTicks:
    """The parent of a process, and its CPU time with that of its children that ended, in ticks."""

    parent: int
    ticks: int


@dataclass(frozen=True)
class Interference:
    """What others took of the cores' time, each as a share from 0 to 1."""

    foreign: float = 0.0
    stolen: float = 0.0

    @property
    def total(self) -> float:
        return self.foreign + self.stolen

    @property
    def rounded(self) -> float:
        """The sum, as results hold it."""
        return round(self.total, 3)

    @property
    def disturbing(self) -> bool:
        """Whether it is more than what is tolerated."""
        return self.total > TOLERATED


QUIET = Interference()


class Watch:
    """Watches the cores that this process may use, from its creation on.

    Processes that start or end meanwhile are counted: a parent has the time of its children that ended. The
    exceptions are children that nobody waits for, and those that end after their parent did, unless this
    process adopts orphans (`benchmarks.serving.processes.adopt_orphans`). Their time would count as that of
    others, so what was seen before they ended stays.
    """

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._began = time.monotonic()
        self._own = self._most = own_ticks()
        self._before = core_ticks(self._cores)
        self._seen = QUIET

    def interference(self) -> Interference:
        """What others took so far."""
        now, own = core_ticks(self._cores), own_ticks()
        if own < self._most:
            return self._seen
        self._most = own
        capacity = (time.monotonic() - self._began) * len(self._cores) * TICKS_PER_SECOND
        foreign = now.busy - self._before.busy - (own - self._own)
        stolen = now.stolen - self._before.stolen
        self._seen = Interference(max(0.0, foreign / capacity), stolen / capacity)
        return self._seen


def undisturbed(
    attempt: Callable[[], Result], watch: Callable[[], Watch] = Watch
) -> tuple[Result, Interference]:
    """Measures up to `TRIES` times while others take too much; returns the least disturbed result."""
    found: list[tuple[Result, Interference]] = []
    while True:
        watching = watch()
        result = attempt()
        found.append((result, watching.interference()))
        if not worth_repeating(found[-1][1], len(found)):
            return min(found, key=lambda each: each[1].total)


def worth_repeating(seen: Interference, attempts: int) -> bool:
    """Whether the last of so many attempts was disturbed and another one is allowed; prints it."""
    if not seen.disturbing:
        return False
    repeated = attempts < TRIES
    consequence = "again" if repeated else "not to be trusted"
    print_progress(f"others took {seen.total:.0%} of the cores: {consequence}")
    return repeated


def check_undisturbed(shares: Mapping[str, Sequence[float]], table: str) -> None:
    """Raises `Disturbed` if others took too much during a measurement, and prints the table of its figures.

    `shares` of the cores' time, 0 to 1, are by the name of what was measured.
    """
    if names := disturbed_names(shares):
        print(table)
        raise Disturbed({name: max(shares[name]) for name in names}, TOLERATED)


def disturbed_names(shares: Mapping[str, Sequence[float]]) -> list[str]:
    """The measurements during which others took more than what is tolerated."""
    return [name for name, seen in shares.items() if max(seen, default=0.0) > TOLERATED]


def core_ticks(cores: Collection[int]) -> CoreTicks:
    """The CPU time of some cores so far."""
    return parse_core_ticks((PROC / "stat").read_text(encoding="ascii"), cores)


def parse_core_ticks(text: str, cores: Collection[int]) -> CoreTicks:
    """Sums up lines `cpu<number> user nice system idle iowait irq softirq steal ...` of `/proc/stat`."""
    busy = stolen = 0
    names = {f"cpu{core}" for core in cores}
    for line in text.splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return CoreTicks(busy, stolen)


def own_ticks() -> int:
    """The CPU time of this process and all of its descendants so far, those included that ended."""
    processes = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            # It ended meanwhile.
            continue
        processes[int(path.parent.name)] = parse_process(text)
    return tree_ticks(processes, os.getpid())


def parse_process(text: str) -> ProcessTicks:
    """Reads `/proc/<pid>/stat`: `pid (name) state parent ...`; the name may hold brackets and spaces."""
    fields = text.rpartition(")")[2].split()
    # utime, stime, and those of children that ended and were waited for.
    return ProcessTicks(int(fields[1]), sum(map(int, fields[11:15])))


def tree_ticks(processes: Mapping[int, ProcessTicks], root: int) -> int:
    """The CPU time of a process and its descendants."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    total, left = 0, [root]
    while left:
        pid = left.pop()
        total += processes[pid].ticks
        left += children.get(pid, [])
    return total
