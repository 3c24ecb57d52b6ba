"""Where, when and with what something was measured."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import load
from benchmarks.serving.project import Project
from serving.cpu_count import available_cores

CPU = Path("/proc/cpuinfo")
# What decides the speed of ours; those of the others stand in their lists.
PACKAGES = ("flask", "gunicorn", "numpy", "onnxruntime", "pillow")


def circumstances(project: Project, rounds: int, seconds: float) -> dict[str, object]:
    """What every run notes before its figures."""
    return moment() | {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "photos": {
            "asked": len(project.asked),
            "sent": len(project.sent),
            "mean_bytes": round(sum(path.stat().st_size for path in project.sent) / len(project.sent)),
        },
    }


def machine() -> dict[str, object]:
    """Processor, cores, kernel and versions."""
    return {
        "cpu": processor(),
        "cores": available_cores(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_generator": load.check(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def moment() -> dict[str, str]:
    """The day, and the commit that was measured, with a plus for a working tree that differs from it."""
    commit = _git("rev-parse", "HEAD")[:12]
    changed = "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit + changed}


def processor() -> str:
    """What the kernel calls it, with the family that tells generations apart."""
    lines = (line.partition(":") for line in CPU.read_text(encoding="utf-8").splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = facts.get("model name", platform.machine())
    return f"{name}, family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
