"""Measures this server beside its peers: `python -m benchmarks.serving [--quick]`.

Reads a project in which `make run MODEL=imagenet` was done.
Writes `benchmarks/results.json`, `docs/bench.png`, and tables in `README.md` and `docs/performance.md`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.documents import show
from benchmarks.serving import growth, load, plot, project, tables, twin
from benchmarks.serving.asking import Reference
from benchmarks.serving.command import Run, carry_out, parser
from benchmarks.serving.contenders import all_of
from benchmarks.serving.machine import circumstances
from benchmarks.serving.results import MANUAL, PICTURE, README, RESULTS
from benchmarks.serving.rounds import Rounds

# Long enough for steady figures, short enough for half an hour.
ROUNDS, SECONDS = 3, 8.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 3.0


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes; 1 and a sentence if something is missing."""
    options = _parser().parse_args(arguments)

    def measured() -> Run:
        load.check()
        return measure(twin.with_float(project.find(options.project, options.bundle)), options)

    def written(run: Run) -> None:
        if options.only:
            # No whole run: it is shown, and leaves no mark.
            print(tables.table(run))
        else:
            write("quick" if options.quick else "full", run)

    return carry_out(measured, written)


def measure(found: project.Project, options: argparse.Namespace) -> Run:
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
    run = circumstances(found, rounds, seconds) | {
        "bundles": [{"digest": served.digest, "precision": served.precision} for served in found.bundles],
        "contenders": measured.rows(),
    }
    if not options.quick and not options.only:
        with tempfile.TemporaryDirectory() as folder:
            run["growth"] = growth.measure(found, reference, min(seconds, 5.0), Path(folder), measured.tell)
    return run


def write(name: str, run: Run) -> None:
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
    made = parser(
        "benchmarks.serving",
        "Measures the server.",
        rounds=f"{ROUNDS}, quick {QUICK_ROUNDS}",
        seconds=f"{SECONDS:g}, quick {QUICK_SECONDS:g}",
    )
    made.add_argument("--quick", action="store_true", help="ours, the tutorial's app and the limit only")
    made.add_argument(
        "--bundle", type=Path, action="append", default=[], metavar="DIR", help="serve this one too"
    )
    made.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="try this one, and write nothing"
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
