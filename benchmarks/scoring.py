"""Measures bulk scoring: `python -m benchmarks.scoring [--project DIR] [--images N]`, nine minutes.

Reads a project in which `make run MODEL=imagenet` was done. Writes `benchmarks/scoring.json` and tables in
`docs/scoring.md`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from pyarrow import parquet

from benchmarks.command_line import Run, measure_and_write, print_progress, project_parser
from benchmarks.documents import ROOT, SCORING, markdown_table, replace_section, write_json
from benchmarks.errors import CommandFailed
from benchmarks.interference import QUIET, Watch, check_undisturbed, undisturbed
from benchmarks.pipeline.throughput import link_photos, measure_limit
from benchmarks.serving.conditions import cpu_model, date_and_commit
from benchmarks.serving.processes import adopt_orphans
from benchmarks.serving.project import Project, find_project, list_test_photos
from scoring.plan import PART_IMAGES, Options, Plan
from scoring.rows import to_parquet
from serving.cpu_count import available_cores

RESULTS = ROOT / "benchmarks/scoring.json"
# Starting takes 2 s, with Ray 12 s: few in a run as long as such runs are.
IMAGES = 30_000
ROUNDS = 2
# Before and after each run; as long as clocks and neighbours take to settle.
LIMIT_SECONDS = 15.0
# Between two looks at the memory. Each look at a process takes it some milliseconds.
SAMPLE_SECONDS = 5.0
ENGINES = ("local", "ray")
TARGETS = {"local": 0.9, "ray": 0.8}
# Paths of the list whose memory and time are measured, and their length.
LISTED, PATH_CHARACTERS = 1_000_000, 60
BILLION = 1_000_000_000
# What clouds ask for a core of a machine that may be taken away is less, for others a little more.
CORE_HOUR_USD = 0.04


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = project_parser("benchmarks.scoring", "Measures bulk scoring.")
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help="default: %(default)s")
    options = parser.parse_args(arguments)
    return measure_and_write(lambda: run(find_project(options.project), options.images), write)


def run(project: Project, images: int) -> Run:
    """Both engines and the bare limit in turn, and the costs of a long list."""
    photos = list_test_photos(project.root)
    limits: list[float] = []
    others: list[float] = []

    def limit() -> float:
        rate, seen = undisturbed(lambda: measure_limit(project.default, photos, LIMIT_SECONDS))
        others.append(seen.rounded)
        return rate

    runs: dict[str, list[Run]] = {engine: [] for engine in ENGINES}
    # Ray's processes outlive their parents for a moment.
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        linked = link_photos(photos, images, folder / "photos")
        for number in range(ROUNDS):
            for engine in ENGINES:
                limits.append(limit())
                out = folder / f"{engine}-{number}"
                # Not repeated: it takes minutes.
                runs[engine].append(score(project, linked, out, engine))
                print_progress(f"{engine}: {runs[engine][-1]['rate']:.0f} of {limits[-1]:.0f} photos/s")
        limits.append(limit())
        results = folder / f"{ENGINES[0]}-0"
        planning = measure_planning(results)
        stored = sum(path.stat().st_size for path in results.iterdir())
    return {
        **date_and_commit(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "images": images,
        "mean_bytes": round(statistics.mean(path.stat().st_size for path in photos)),
        "limits": [round(each, 1) for each in limits],
        "others": others,
        "engines": runs,
        "planning": planning,
        "result_bytes": round(stored / images),
    }


def score(project: Project, photos: Path, out: Path, engine: str) -> Run:
    """One run from start to end: its rate, the memory of its processes, and what others took of the cores."""
    command = [
        sys.executable,
        # Not the code of the project, if that is another one.
        "-P",
        "-m",
        "scoring",
        "imagenet",
        str(photos),
        "--out",
        str(out),
        "--engine",
        engine,
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    log = out.with_suffix(".log")
    totals, largest, seen = [], 0.0, QUIET
    with log.open("wb") as file:
        watch, began = Watch(), time.monotonic()
        process = subprocess.Popen(command, cwd=project.root, env=env, stderr=file)
        while not _has_ended(process):
            sizes = _sizes(process.pid)
            totals.append(sum(sizes))
            largest = max(largest, *sizes)
            seen = watch.interference()
        seconds = time.monotonic() - began
    if process.returncode:
        raise CommandFailed(command, process.returncode, log.read_text(encoding="utf-8"))
    summary = json.loads((out / "run.json").read_text(encoding="utf-8"))
    quarter = len(totals) // 4
    return {
        "seconds": round(seconds, 1),
        "rate": round(summary["images"] / seconds, 1),
        "refused": summary["refused"],
        "mb_second_quarter": round(statistics.median(totals[quarter : 2 * quarter])),
        "mb_last_quarter": round(statistics.median(totals[3 * quarter : 4 * quarter - 2])),
        "mb_worker": round(largest),
        "others": seen.rounded,
    }


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Waits until the run ends, or for the next look at its memory."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(SAMPLE_SECONDS)
    return process.returncode is not None


def _sizes(pid: int) -> list[float]:
    """What each process of a run takes, in MB (PSS)."""
    sizes = [0.0]
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                sizes.append(each.memory_full_info().pss / 2**20)
    return sizes


def measure_planning(results: Path) -> Run:
    """Seconds and memory for a list of a million paths, and what the first process does for each image."""
    before = psutil.Process().memory_info().rss
    entries = [f"{number:0{PATH_CHARACTERS - 4}}.jpg" for number in range(LISTED)]
    listed_mb = (psutil.Process().memory_info().rss - before) / 2**20
    began = time.monotonic()
    Plan("imagenet", 1, "", Options(), entries).document()
    seconds = time.monotonic() - began
    table = parquet.read_table(results / "part-000000.parquet")
    began = time.monotonic()
    to_parquet(table, {})
    writing = time.monotonic() - began
    return {
        "paths": LISTED,
        "list_mb": round(listed_mb),
        "identity_seconds": round(seconds, 2),
        "write_ms_for_a_part": round(1000 * writing, 1),
    }


def write(run: Run) -> None:
    """Writes the results, and shows them in the document. Raises `Disturbed` instead if others disturbed."""
    shares = {"the limit": run["others"]}
    shares |= {engine: [each["others"] for each in runs] for engine, runs in run["engines"].items()}
    check_undisturbed(shares, rates_table(run))
    write_json(RESULTS, run)
    replace_section(SCORING, "rates", rates_table(run))
    replace_section(SCORING, "billion", billion_table(run))


def rates_table(run: Run) -> str:
    """Photos per second of both engines, and their memory."""
    limit = statistics.median(run["limits"])
    shares = {"local": median_share(run), "ray": median_rate(run, "ray") / median_rate(run, "local")}
    rows: list[Sequence[object]] = [("bare limit", f"{limit:.0f}", "", "", "", "")]
    for engine, share in shares.items():
        runs, rate = run["engines"][engine], median_rate(run, engine)
        memory = f"{runs[0]['mb_second_quarter']}, {runs[0]['mb_last_quarter']} MB"
        target = f"≥ {TARGETS[engine]:.0%} of {'the limit' if engine == 'local' else 'local'}"
        verdict = f"{share:.0%} ({target}: {'met' if share >= TARGETS[engine] else 'missed'})"
        largest = f"{max(each['mb_worker'] for each in runs)} MB"
        hours = f"{1e6 / rate / 3600 * run['cores']:.2f}"
        rows.append((f"`{engine}`", f"{rate:.0f}", verdict, memory, largest, hours))
    columns = [
        "",
        "photos/s",
        "share",
        "memory at first, at last (PSS)",
        "largest process",
        "core hours for a million",
    ]
    where = (
        f"{run['date']}, commit {run['commit']}, {run['cpu']}, {run['cores']:g} cores, Python {run['python']}"
    )
    photos = f"{run['images']:,} of ImageNet's photos with {run['mean_bytes'] / 1000:.0f} kB on average"
    how = f"medians of {ROUNDS} runs, each from the start of the command to its end"
    return f"{markdown_table(columns, rows)}\n{where}. {photos}, 8 bit; {how}.\n"


def median_share(run: Run) -> float:
    """What `local` reaches of the bare limit, which is measured before each run and after it."""
    limits, shares = run["limits"], []
    for number, each in enumerate(run["engines"]["local"]):
        before = number * len(ENGINES)
        shares.append(each["rate"] / statistics.mean(limits[before : before + 2]))
    return float(statistics.median(shares))


def median_rate(run: Run, engine: str) -> float:
    """Photos per second, start and end of the command included."""
    return float(statistics.median(each["rate"] for each in run["engines"][engine]))


def billion_table(run: Run) -> str:
    """What a billion photos take, by the measured costs of one."""
    hours = BILLION / median_rate(run, "ray") / 3600 * run["cores"]
    planning = run["planning"]
    reads = BILLION / (hours / 1000 * 3600)
    rows = [
        ("core hours with `ray`", f"{hours:,.0f}"),
        ("the same on 1,000 cores", f"{hours / 1000:.1f} h"),
        (f"their price, at {CORE_HOUR_USD} USD an hour (an assumption)", f"{hours * CORE_HOUR_USD:,.0f} USD"),
        ("read from storage", f"{run['mean_bytes'] * BILLION / 1e12:,.0f} TB in 1,000,000,000 reads"),
        (
            "reads per second on 1,000 cores",
            f"{reads:,.0f}, {run['mean_bytes'] * reads / 1e9:.1f} GB/s",
        ),
        ("results", f"{run['result_bytes'] * BILLION / 1e9:,.0f} GB in {BILLION // PART_IMAGES:,} parts"),
        ("memory of the largest process", f"{max(each['mb_worker'] for each in run['engines']['ray'])} MB"),
        ("a list of a million paths", f"{planning['list_mb']} MB, {planning['identity_seconds']:.1f} s"),
        (
            "photos/s whose rows the first process can encode",
            f"{PART_IMAGES / planning['write_ms_for_a_part'] * 1000:,.0f}",
        ),
    ]
    return markdown_table(["", "a billion photos"], rows)


if __name__ == "__main__":
    sys.exit(main())
