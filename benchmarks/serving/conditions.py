"""The conditions of a run: date, commit, machine, versions, duration and photos."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.commands import run_command
from benchmarks.interference import TOLERATED
from benchmarks.serving.cores import current_split
from benchmarks.serving.load_generator import wrk_version
from benchmarks.serving.project import Project
from serving.cpu_count import available_cores

CPU_INFO = Path("/proc/cpuinfo")
# The packages that decide this server's speed; the peers' versions are in their requirements.
PACKAGES = ("flask", "gunicorn", "numpy", "onnxruntime", "pillow")


def run_conditions(project: Project, rounds: int, seconds: float) -> dict[str, object]:
    """What every run of the serving benchmark records before its figures."""
    sizes = [path.stat().st_size for path in project.load_photos]
    return date_and_commit() | {
        "machine": {
            "cpu": cpu_model(),
            "cores": available_cores(),
            # Numbers of the cores that were set apart; empty if all were shared.
            "pinned": asdict(current_split()),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_generator": wrk_version(),
            "packages": {name: version(name) for name in PACKAGES},
        },
        "rounds": rounds,
        "seconds": seconds,
        "tolerated": TOLERATED,
        "photos": {
            "asked": len(project.accuracy_photos),
            "sent": len(sizes),
            "mean_bytes": round(sum(sizes) / len(sizes)),
            "format": project.load_photos[0].suffix.removeprefix(".").upper().replace("JPG", "JPEG"),
        },
    }


def date_and_commit() -> dict[str, str]:
    """The date, and the commit with a plus if tracked files were changed."""
    commit = run_command(["git", "rev-parse", "HEAD"])[:12]
    changed = "+" if run_command(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit + changed}


def cpu_model() -> str:
    """The kernel's name of the CPU, with family and model, which tell its generation."""
    lines = (line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = facts.get("model name", platform.machine())
    return f"{name}, family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else name
