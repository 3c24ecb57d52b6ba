"""The number of CPU cores that this process may use: a container's quota, not the machine's cores."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = CGROUP) -> float:
    """The smaller of the CPU affinity and the CPU quota of the control group, in cores.

    `cgroup` is where control groups are mounted. Version 2 has "<quota> <period>" or "max <period>" in
    `cpu.max`, version 1 the same in two files, with -1 for no quota.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, _quota(cgroup))


def _quota(cgroup: Path) -> float:
    if (file := cgroup / "cpu.max").exists():
        quota, period = file.read_text(encoding="ascii").split()
    elif (file := cgroup / "cpu/cpu.cfs_quota_us").exists():
        quota = file.read_text(encoding="ascii")
        period = file.with_name("cpu.cfs_period_us").read_text(encoding="ascii")
    else:
        return float("inf")
    unlimited = quota.strip() == "max" or int(quota) < 0
    return float("inf") if unlimited else int(quota) / int(period)
