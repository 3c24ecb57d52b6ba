"""Which cores the load generator and the contenders run on: apart, where there are enough."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serving.cpu_count import available_cores

# With fewer, a core for the load generator alone would take too much from the contenders: it needs a tenth
# of one.
ENOUGH = 4


@dataclass(frozen=True)
class CoreSplit:
    """Numbers of cores; empty: any core, shared with the others."""

    generator: tuple[int, ...] = ()
    contender: tuple[int, ...] = ()

    @property
    def contender_count(self) -> int:
        """How many cores a contender has."""
        return len(self.contender) or max(1, round(available_cores()))


def current_split() -> CoreSplit:
    """The split of the cores that this process may use."""
    return split_cores(os.sched_getaffinity(0), available_cores())


def split_cores(usable: Collection[int], count: float) -> CoreSplit:
    """The last core for the load generator, the others for the contender; nothing is split if there are few.

    `count` is less than the number of usable cores where a container has a quota. No more cores are used
    then, so that load generator and contender do not share the quota.
    """
    chosen = sorted(usable)[: int(count)]
    if len(chosen) < ENOUGH:
        return CoreSplit()
    return CoreSplit((chosen[-1],), tuple(chosen[:-1]))


def pinned(command: Sequence[str], cores: Sequence[int]) -> list[str]:
    """The command, run on these cores alone."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores)), *command] if cores else list(command)
