"""Keeps the memory of a process with many threads near what it uses, and below what it may ever need."""

import ctypes
import gc
import re
import resource
import threading
from pathlib import Path

# glibc's parameters (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE, SPARE = 2**18, 2**23
# Of a thread. The default of 8 MB would count in full for each of a hundred threads.
STACK = 2**20
# Decoding and classifying one picture, at most: tests/serving/model/test_decoding_cost.py tries all kinds.
PICTURE = 250 * 2**20
# What the interpreter may grow by beyond that: metrics, documents, fragments of freed blocks.
GROWTH = 128 * 2**20
# Of a container's limit, what is left to the master process and to the kernel's buffers.
SHARE = 0.85
STATUS, CGROUP = Path("/proc/self/status"), Path("/sys/fs/cgroup")


def give_back() -> None:
    """Has glibc return large blocks to the system when they are free. Other systems are left as they are.

    By itself it learns from the first large picture to keep blocks of up to 32 MB, in each of many arenas:
    a server that had seen all kinds of requests for two minutes held 84 MB more than before.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, SPARE)


def keep() -> None:
    """Has the collector leave alone what is there now and stays: looking through all of it takes 10 ms.

    Called before a fork, it also keeps pages shared that the collector would write to.
    """
    gc.collect()
    gc.freeze()


def limit(slots: int, bodies: int, threads: int, cgroup: Path = CGROUP) -> int | None:
    """Has allocations fail beyond the worst case that the documentation names.

    `slots` pictures are decoded at once, `bodies` bytes of requests are held (those of a form twice for a
    moment) and `threads` run. A control group that grants less than that counts instead. Gives the limit in
    bytes, None where the system has none (other than Linux). Called when the model is loaded.
    """
    used = _data()
    if used is None:
        return None
    threading.stack_size(STACK)
    allowed = used + slots * PICTURE + 2 * bodies + threads * STACK + GROWTH
    allowed = int(min(allowed, max(used + PICTURE, SHARE * _granted(cgroup))))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    return allowed


def _data() -> int | None:
    """Bytes of what counts against the limit: heap, stacks and large blocks, used or not."""
    if not STATUS.exists():
        return None
    found = re.search(r"VmData:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return 1024 * int(found[1]) if found else None


def _granted(cgroup: Path) -> float:
    """Bytes that the control group may use, by version 2 or 1."""
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        if file.exists() and (text := file.read_text(encoding="ascii").strip()) != "max":
            return float(text)
    return float("inf")
