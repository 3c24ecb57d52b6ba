"""CPU cores of this machine: pins a contender to some of them, and reads their idle time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psutil

from benchmarks.serving.contenders import Contender


def usable_cores(count: int | None = None) -> list[int]:
    """The numbers of the cores that this process may use, or the first `count` of them."""
    return sorted(os.sched_getaffinity(0))[:count]


def pinned(contender: Contender, cores: Sequence[int]) -> Contender:
    """The same contender on these cores; the load generator stays on all."""
    prefix = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    return replace(contender, command=lambda instance: [*prefix, *contender.command(instance)])


@dataclass(frozen=True)
class CpuTime:
    """Seconds since boot, summed over some cores: idle, and in all."""

    idle: float
    total: float

    @classmethod
    def read(cls, cores: Sequence[int]) -> "CpuTime":
        times = psutil.cpu_times(percpu=True)
        idle = sum(times[core].idle + times[core].iowait for core in cores)
        # The kernel includes guests' time in the user's time.
        total = sum(sum(times[core]) - times[core].guest - times[core].guest_nice for core in cores)
        return cls(idle, total)

    def idle_share_since(self, before: "CpuTime") -> float:
        """Idle time as a share of all time since an earlier reading, 0 to 1."""
        return (self.idle - before.idle) / (self.total - before.total)
