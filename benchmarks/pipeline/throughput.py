"""Throughput of `evaluate` against the bare limit, and duration and memory with larger samples."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import print_progress
from benchmarks.commands import run_module
from benchmarks.interference import undisturbed
from benchmarks.serving.project import ServedBundle
from serving.cpu_count import available_cores

# Short alternating rounds, so that load from other programs falls on both.
ROUNDS, SECONDS = 5, 3.0
# Numbers of images in the larger samples.
SAMPLE_SIZES = (1_000, 20_000)

Figures = dict[str, Any]


def compare_with_limit(bundle: ServedBundle, photos: Sequence[Path], folder: Path) -> Figures:
    """Photos per second of `evaluate` and of the bare limit, in alternating rounds.

    `evaluate` reads the photos from `folder`; the limit has them in memory.
    """
    rates: list[float] = []
    limits: list[float] = []
    others: list[float] = []
    for number in range(ROUNDS):
        print_progress(f"predictions, round {number + 1} of {ROUNDS}")
        limit, seen_first = undisturbed(lambda: measure_limit(bundle, photos))
        figures, seen_second = undisturbed(lambda: run_task("answers", folder, bundle.path))
        limits.append(limit)
        others += [seen_first.rounded, seen_second.rounded]
        rates.append(figures["images"] / figures["seconds"])
        print_progress(f"{rates[-1]:.0f} of {limits[-1]:.0f} photos/s")
    shares = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    return {
        "precision": bundle.precision,
        "digest": bundle.digest,
        "photos": len(photos),
        "mean_bytes": round(statistics.mean(path.stat().st_size for path in photos)),
        "rounds": ROUNDS,
        "rate": round(statistics.median(rates), 1),
        "limit": round(statistics.median(limits), 1),
        "share": round(statistics.median(shares), 3),
        "shares": [round(share, 3) for share in shares],
        "others": others,
    }


def measure_limit(bundle: ServedBundle, photos: Sequence[Path], seconds: float = SECONDS) -> float:
    """Photos per second of a bare loop on all cores."""
    threads = max(1, round(available_cores()))
    output = run_module("benchmarks.serving.bare_limit", bundle.path, seconds, threads, 1, *photos)
    return float(json.loads(output)["rate"])


def measure_samples(bundle: ServedBundle, photos: Sequence[Path], folder: Path) -> list[Figures]:
    """Seconds and memory to check and to classify samples of several sizes."""
    rows = []
    for size in SAMPLE_SIZES:
        sample = link_photos(photos, size, folder / str(size))
        row: Figures = {"images": size}
        for task, arguments in (("checks", ()), ("answers", (bundle.path,))):
            figures = run_task(task, sample, *arguments)
            print_progress(
                f"{task} of {size:,} images: {figures['seconds']:.1f} s, {figures['peak_mb']:.0f} MB"
            )
            row |= {
                f"{task}_seconds": round(figures["seconds"], 1),
                f"{task}_before_mb": round(figures["before_mb"]),
                f"{task}_mb": round(figures["peak_mb"]),
            }
        rows.append(row)
    return rows


def link_photos(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """Creates `count` links `<class>/<file>` in a folder, repeating the photos as often as needed."""
    for number in range(count):
        photo = photos[number % len(photos)].resolve()
        link = folder / photo.parent.name / f"{number // len(photos):04d}-{photo.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo)
    return folder


def run_task(task: str, folder: Path, *bundle: Path) -> Figures:
    """Runs a task of `timed_task`, and returns its figures."""
    figures: Figures = json.loads(
        run_module("benchmarks.pipeline.timed_task", task, folder, *bundle, folder=folder)
    )
    return figures
