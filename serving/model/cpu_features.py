"""Detects CPUs whose 8-bit multiply-add instructions saturate.

x86 CPUs without VNNI add two 8-bit products in 16 bits. Large sums saturate, so the probabilities of an 8-bit
model are wrong, without an error. ONNX Runtime has slower kernels that avoid it.
"""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Names of the architecture on Linux, macOS and Windows. ARM adds in 32 bits, with or without dot product.
X86 = frozenset({"x86_64", "amd64", "i386", "i686", "x86"})
VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def int8_may_saturate(machine: str = "", cpuinfo: Path = CPUINFO) -> bool:
    """Can 8-bit sums saturate on this CPU? True for an x86 CPU whose features are unknown.

    `machine` is the architecture, by default this machine's; `cpuinfo` is where Linux lists CPU features.
    """
    if (machine or platform.machine()).lower() not in X86:
        return False
    return not VNNI & _read_flags(cpuinfo)


def _read_flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    # All cores of an x86 CPU have the same features.
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
