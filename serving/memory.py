"""Keeps the memory of a process with many threads near what it uses."""

import ctypes
import gc

# glibc's parameters (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE, SPARE = 2**18, 2**23


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
