"""How many cores this process may use: a container's quota counts, not the machine that it runs on."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available(cgroup: Path = CGROUP) -> float:
    """Cores by affinity and by the CPU quota of the control group, whichever is less.

    `cgroup` is where control groups are mounted: version 2 tells "<quota> <period>" or "max <period>" in
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
