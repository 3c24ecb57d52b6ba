"""Compares this server with its peers: `python -m benchmarks.serving [--quick]`.

Reads a project in which `make run MODEL=imagenet` was done.
Writes `benchmarks/results.json`, `docs/bench.png`, and tables in `README.md` and `docs/performance.md`.
If other programs used the cores meanwhile, it prints the table instead, and exits with 1.
"""

import argparse
import json
import sys

from benchmarks.command_line import Run, measure_and_write, project_parser
from benchmarks.documents import PERFORMANCE, README, ROOT, replace_section, write_json
from benchmarks.interference import check_undisturbed
from benchmarks.serving import plot
from benchmarks.serving.conditions import run_conditions
from benchmarks.serving.contenders import all_contenders
from benchmarks.serving.float_bundle import with_float_bundle
from benchmarks.serving.load_generator import wrk_version
from benchmarks.serving.project import Project, find_project
from benchmarks.serving.scaling import measure_scaling
from benchmarks.serving.schedule import measure_contenders
from benchmarks.serving.statistics import run_interference
from benchmarks.serving.tables import contender_table, quick_summary, scaling_tables
from benchmarks.serving.verification import Reference

RESULTS = ROOT / "benchmarks/results.json"
# A full run takes half an hour, a quick one three minutes.
ROUNDS, SECONDS = 3, 8.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 3.0
# Seconds of each load when scaling is measured, at most.
SCALING_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(arguments)

    def measure() -> Run:
        # Before the measurement, which takes minutes.
        wrk_version()
        return run(with_float_bundle(find_project(options.project)), options)

    def write(results: Run) -> None:
        if options.only:
            print(contender_table(results))
        else:
            write_results("quick" if options.quick else "full", results)

    return measure_and_write(measure, write)


def run(project: Project, options: argparse.Namespace) -> Run:
    """Measures the contenders and, in a full run, the scaling of this server."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    contenders = [
        contender
        for contender in all_contenders(project, seconds, options.quick)
        if not options.only or contender.name in options.only
    ]
    reference = Reference.predict(project.reference, project.accuracy_photos)
    rows = measure_contenders(contenders, project, reference, seconds, rounds)
    results = run_conditions(project, rounds, seconds) | {
        "bundles": [{"digest": bundle.digest, "precision": bundle.precision} for bundle in project.bundles],
        "contenders": rows,
    }
    if not options.quick and not options.only:
        results["growth"] = measure_scaling(project, reference, min(seconds, SCALING_SECONDS))
    return results


def write_results(kind: str, run: Run) -> None:
    """Replaces the results of this kind of run, `quick` or `full`, and shows them in the documents.

    Raises `Disturbed` instead, and prints the table, if others used the cores meanwhile.
    """
    check_undisturbed(run_interference(run), contender_table(run))
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    write_json(RESULTS, results | {kind: run})
    if kind == "quick":
        replace_section(README, "bench-quick", quick_summary(run))
    else:
        replace_section(README, "bench", contender_table(run))
        replace_section(PERFORMANCE, "growth", scaling_tables(run))
        plot.draw(plot.CHART, run)


def _parser() -> argparse.ArgumentParser:
    parser = project_parser("benchmarks.serving", "Compares this server with its peers.")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    seconds = f"of each load; default: {SECONDS:g}, quick {QUICK_SECONDS:g}"
    parser.add_argument("--seconds", type=float, help=seconds)
    parser.add_argument("--quick", action="store_true", help="ours, the tutorial's app and the limit only")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="measure this one, and write nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
