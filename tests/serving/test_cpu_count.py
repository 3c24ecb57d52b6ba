"""The number of slots follows the quota of the control group, not the machine."""

import os
from pathlib import Path

import pytest

from serving.cpu_count import available_cores

AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

QUOTAS: dict[str, tuple[dict[str, str], float]] = {
    "no control group": ({}, float("inf")),
    "version 2, none": ({"cpu.max": "max 100000\n"}, float("inf")),
    "version 2, one core": ({"cpu.max": "100000 100000\n"}, 1.0),
    "version 2, half a core": ({"cpu.max": "50000 100000\n"}, 0.5),
    "version 2, another period": ({"cpu.max": "15000 10000\n"}, 1.5),
    "version 1, none": (
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        float("inf"),
    ),
    "version 1, 0.75": ({"cpu/cpu.cfs_quota_us": "75000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.75),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quota(tmp_path: Path, name: str) -> None:
    files, cores = QUOTAS[name]
    for file, text in files.items():
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert available_cores(tmp_path) == min(AFFINITY or 1, cores)
