"""Measures this server beside its peers: `python -m benchmarks.serving [--quick]`.

Reads a project in which `make run MODEL=imagenet` was done.
Writes `benchmarks/results.json`, `docs/bench.png`, and tables in `README.md` and `docs/serving.md`.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.documents import show
from benchmarks.serving import growth, load, plot, project, tables, twin
from benchmarks.serving.asking import Reference
from benchmarks.serving.contenders import all_of
from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.machine import machine, moment
from benchmarks.serving.results import MANUAL, PICTURE, README, RESULTS
from benchmarks.serving.rounds import Rounds

# Long enough for steady figures, short enough for half an hour.
ROUNDS, SECONDS = 3, 8.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 3.0


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes; 1 and a sentence if something is missing."""
    options = _parser().parse_args(arguments)
    # Whoever ends the benchmark means the contenders too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        load.check()
        found = twin.with_float(project.find(options.project, options.bundle))
        run = measure(found, options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    if options.only:
        # No whole run: it is shown, and leaves no mark.
        print(tables.table(run))
    else:
        write("quick" if options.quick else "full", run)
    return 0


def measure(found: project.Project, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    contenders = [
        contender
        for contender in all_of(found, seconds, options.quick)
        if not options.only or contender.name in options.only
    ]
    reference = Reference.of(found.reference, found.asked)
    measured = Rounds(contenders, found, reference, seconds, rounds)
    run = moment() | {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "photos": {
            "asked": len(found.asked),
            "sent": len(found.sent),
            "mean_bytes": round(sum(path.stat().st_size for path in found.sent) / len(found.sent)),
        },
        "bundles": [{"digest": served.digest, "precision": served.precision} for served in found.bundles],
        "contenders": measured.rows(),
    }
    if not options.quick and not options.only:
        with tempfile.TemporaryDirectory() as folder:
            run["growth"] = growth.measure(found, reference, min(seconds, 5.0), Path(folder), measured.tell)
    return run


def write(name: str, run: dict[str, Any]) -> None:
    """Puts a run into the results, and shows it where it belongs; the other kind of run stays as it was."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results[name] = run
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if name == "quick":
        show(README, "bench-quick", tables.sentence(run))
        print(tables.sentence(run))
    else:
        show(README, "bench", tables.table(run))
        show(MANUAL, "growth", tables.growth(run))
        plot.draw(PICTURE, run)
        print(tables.table(run))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="Measures the server.")
    parser.add_argument("--quick", action="store_true", help="ours, the tutorial's app and the limit only")
    parser.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="where imagenet was built; default: here"
    )
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], metavar="DIR", help="serve this one too"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="try this one, and write nothing"
    )
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument(
        "--seconds", type=float, help=f"of each load; default: {SECONDS:g}, quick {QUICK_SECONDS:g}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
