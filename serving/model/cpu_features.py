"""Can this CPU add up products of 8-bit numbers?

x86 CPUs without VNNI add two such products in 16 bits, where large sums are cut off: the answers of an 8-bit
model are then wrong, without an error. ONNX Runtime can do it right there too, and slower.
"""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# How Linux, macOS and Windows call it. ARM adds up in 32 bits, with and without its dot product.
X86 = frozenset({"x86_64", "amd64", "i386", "i686", "x86"})
VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def saturates(machine: str = "", cpuinfo: Path = CPUINFO) -> bool:
    """May sums be cut off here? `machine` is this one if not given; where nobody tells, they may.

    `cpuinfo` is where Linux lists what the CPU can do.
    """
    if (machine or platform.machine()).lower() not in X86:
        return False
    return not VNNI & _flags(cpuinfo)


def _flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    # All cores of an x86 CPU can do the same.
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
