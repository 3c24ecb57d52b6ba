"""Keeps the memory of a process with many threads close to what it uses, and limits it to the worst case."""

import ctypes
import gc
import math
import re
import resource
import threading
from dataclasses import dataclass
from pathlib import Path

# glibc's parameters (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# Blocks from this size on are returned when they are freed; the heap is trimmed when more than this is free.
MMAP_THRESHOLD_BYTES, TRIM_THRESHOLD_BYTES = 2**18, 2**23
# Stack of a thread. The default of 8 MB would count in full for each of a hundred threads.
STACK_BYTES = 2**20
# Upper bound for one image to decode and classify: tests/serving/model/test_decoding_cost.py tries all kinds.
IMAGE_BYTES = 250 * 2**20
# Growth of the interpreter beyond that: metrics, JSON documents, fragmentation.
INTERPRETER_BYTES = 128 * 2**20
# Share of a container's limit; the rest is for the master process and the kernel's buffers.
CGROUP_SHARE = 0.85
STATUS, CGROUP = Path("/proc/self/status"), Path("/sys/fs/cgroup")


def configure_malloc() -> None:
    """Makes glibc return large blocks to the system when they are freed. Has no effect on other systems.

    By default it learns from the first large image to keep blocks of up to 32 MB, in each of many arenas:
    after two minutes of mixed requests a server held 84 MB more.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def trim_memory() -> None:
    """Returns free memory to the system, after a model was dropped. Has no effect on other systems.

    Its memory lies between that of others, so that the heap's end is not free.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def freeze_objects() -> None:
    """Freezes long-lived objects so that the garbage collector skips them: to scan them all takes 10 ms.

    Before a fork it also keeps pages shared that the collector would write to.
    """
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class MemoryLimit:
    """The limit of this process: `base` bytes, and those of the models; at most `most`. None: no limit."""

    base: int | None
    most: float

    def allow(self, model_bytes: int) -> int | None:
        """Makes allocations fail beyond the documented worst case. Returns the limit in bytes.

        `model_bytes` are allocated after the start and kept: for explanations, and for further versions.
        """
        if self.base is None:
            return None
        limit = int(min(self.base + model_bytes, self.most))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        return limit


def memory_limit(
    slots: int,
    body_bytes: int,
    threads: int,
    cache_bytes: int = 0,
    workers: int = 1,
    cgroup: Path = CGROUP,
) -> MemoryLimit:
    """The limit for a worker that has just loaded its models. There is none on systems other than Linux.

    `slots` images are decoded at once, `body_bytes` of requests are held (those of a form twice for a
    moment), `threads` run, and a cache takes `cache_bytes`. A lower limit of the control group, which all
    workers share, takes precedence.
    """
    used = _data_bytes()
    if used is None:
        return MemoryLimit(None, math.inf)
    threading.stack_size(STACK_BYTES)
    base = used + slots * IMAGE_BYTES + 2 * body_bytes + threads * STACK_BYTES + INTERPRETER_BYTES
    base += cache_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = max(used + IMAGE_BYTES, CGROUP_SHARE * container_bytes(cgroup) / workers)
    return MemoryLimit(base, most if hard == resource.RLIM_INFINITY else min(most, hard))


def _data_bytes() -> int | None:
    """Bytes that count against RLIMIT_DATA: heap, stacks and large blocks, used or not."""
    if not STATUS.exists():
        return None
    match = re.search(r"VmData:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return 1024 * int(match[1]) if match else None


def own_bytes() -> int:
    """Bytes of this process in memory; 0 where that is not known."""
    if not STATUS.exists():
        return 0
    match = re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return 1024 * int(match[1]) if match else 0


def container_bytes(cgroup: Path = CGROUP) -> float:
    """The memory limit of the control group in bytes, version 2 or 1; infinite if there is none."""
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        if file.exists() and (text := file.read_text(encoding="ascii").strip()) != "max":
            return float(text)
    return float("inf")
