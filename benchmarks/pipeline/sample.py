"""How fast a sample is answered beside the bare limit, and what a larger one takes."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import ROOT
from benchmarks.pipeline.commands import ours, output
from benchmarks.serving.project import LAYOUT, Project, Served
from serving.cpu_count import available_cores

# Short rounds in turn, so that whatever else the machine does falls on both alike.
ROUNDS, SECONDS = 5, 3.0
SIZES = (1_000, 20_000)

Seen = dict[str, Any]
Tell = Callable[[str], None]


def photos_of(project: Project) -> list[Path]:
    """All photos that `evaluate` asks about."""
    return sorted(path for path in (project.root / LAYOUT.test).rglob("*") if path.is_file())


def listed(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """A folder `<class>/<file>` of so many links: all photos, again and again."""
    for number in range(count):
        photo = photos[number % len(photos)].resolve()
        link = folder / photo.parent.name / f"{number // len(photos):04d}-{photo.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo)
    return folder


def rates(served: Served, photos: Sequence[Path], folder: Path, tell: Tell) -> Seen:
    """Photos per second of both, in turn; ours reads each file, the limit has all of them in memory."""
    own: list[float] = []
    bare: list[float] = []
    for number in range(ROUNDS):
        tell(f"answers, round {number + 1} of {ROUNDS}")
        bare.append(limit(served, photos))
        seen = asked("answers", folder, served.path)
        own.append(seen["images"] / seen["seconds"])
        tell(f"{own[-1]:.0f} of {bare[-1]:.0f} photos/s")
    shares = [one / other for one, other in zip(own, bare, strict=True)]
    return {
        "precision": served.precision,
        "digest": served.digest,
        "photos": len(photos),
        "mean_bytes": round(statistics.mean(path.stat().st_size for path in photos)),
        "rounds": ROUNDS,
        "rate": round(statistics.median(own), 1),
        "limit": round(statistics.median(bare), 1),
        "share": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
    }


def limit(served: Served, photos: Sequence[Path]) -> float:
    """Photos per second of a bare loop on all cores."""
    threads = max(1, round(available_cores()))
    arguments = [served.path, SECONDS, threads, 1, *photos]
    command, variables = ours("benchmarks.serving.limit", *map(str, arguments))
    return float(json.loads(output(command, ROOT, variables))["rate"])


def grown(served: Served, photos: Sequence[Path], folder: Path, tell: Tell) -> list[Seen]:
    """Seconds and memory of samples of several sizes, to check and to answer."""
    rows = []
    for size in SIZES:
        links = listed(photos, size, folder / str(size))
        row: Seen = {"images": size}
        for task, bundle in (("checks", ()), ("answers", (served.path,))):
            seen = asked(task, links, *bundle)
            tell(f"{task} of {size:,} images: {seen['seconds']:.1f} s, {seen['peak_mb']:.0f} MB")
            row |= {
                f"{task}_seconds": round(seen["seconds"], 1),
                f"{task}_before_mb": round(seen["before_mb"]),
                f"{task}_mb": round(seen["peak_mb"]),
            }
        rows.append(row)
    return rows


def asked(task: str, folder: Path, *bundle: Path) -> Seen:
    """What a process of its own says of a task."""
    command, variables = ours("benchmarks.pipeline.asked", task, str(folder), *map(str, bundle))
    seen: Seen = json.loads(output(command, folder, variables))
    return seen
