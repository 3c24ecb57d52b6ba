"""Compares this server with its peers: `python -m benchmarks.serving [--quick] [--model digits]`.

Reads a project in which `make run MODEL=imagenet` was done, or of the other model.
Writes `benchmarks/results.json`, `docs/bench.png`, and tables in `README.md` and `docs/performance.md`. With
another model it writes its part of `benchmarks/results.json` and a table in `docs/performance.md`.
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
from benchmarks.serving.contenders import Contender
from benchmarks.serving.float_bundle import with_float_bundle
from benchmarks.serving.load_generator import wrk_version
from benchmarks.serving.project import LAYOUT, Project, find_project
from benchmarks.serving.scaling import measure_scaling
from benchmarks.serving.schedule import measure_contenders
from benchmarks.serving.selection import all_contenders, small_model_contenders
from benchmarks.serving.statistics import run_interference
from benchmarks.serving.tables import contender_table, quick_summary, scaling_tables, small_model_table
from benchmarks.serving.verification import Reference
from pipeline.layout import Layout

RESULTS = ROOT / "benchmarks/results.json"
# A model so small that the server takes most of the time of a request.
SMALL_MODEL = "digits"
# A full run takes forty minutes, one with the small model half an hour, a quick one three minutes.
ROUNDS, SECONDS = 3, 8.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 3.0
# Seconds of each load when scaling is measured, at most.
SCALING_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    small = options.model == SMALL_MODEL
    if small and options.quick:
        parser.error(f"--quick measures {LAYOUT.model} only")

    def measure() -> Run:
        # Before the measurement, which takes minutes.
        wrk_version()
        return run(with_float_bundle(find_project(options.project, Layout(options.model))), options)

    def write(results: Run) -> None:
        if options.only:
            print(small_model_table(results) if small else contender_table(results))
        else:
            write_results(SMALL_MODEL if small else "quick" if options.quick else "full", results)

    return measure_and_write(measure, write)


def run(project: Project, options: argparse.Namespace) -> Run:
    """Measures the contenders and, in a full run with ImageNet, the scaling of this server."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    contenders = [
        contender
        for contender in _contenders(project, seconds, options.quick)
        if not options.only or contender.name in options.only
    ]
    reference = Reference.predict(project.reference, project.accuracy_photos)
    rows = measure_contenders(contenders, project, reference, seconds, rounds)
    results = run_conditions(project, rounds, seconds) | {
        "bundles": [{"digest": bundle.digest, "precision": bundle.precision} for bundle in project.bundles],
        "contenders": rows,
    }
    if project.layout == LAYOUT and not options.quick and not options.only:
        results["growth"] = measure_scaling(project, reference, min(seconds, SCALING_SECONDS))
    return results


def _contenders(project: Project, seconds: float, quick: bool) -> list[Contender]:
    if project.layout == LAYOUT:
        return all_contenders(project, seconds, quick)
    return small_model_contenders(project, seconds)


def write_results(kind: str, run: Run) -> None:
    """Replaces the results of this kind of run, and shows them in the documents.

    The kinds are `quick`, `full` and the name of the small model. Raises `Disturbed` instead, and prints the
    table, if others used the cores meanwhile.
    """
    table = small_model_table(run) if kind == SMALL_MODEL else contender_table(run)
    check_undisturbed(run_interference(run), table)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    write_json(RESULTS, results | {kind: run})
    if kind == "quick":
        replace_section(README, "bench-quick", quick_summary(run))
    elif kind == SMALL_MODEL:
        replace_section(PERFORMANCE, f"bench-{kind}", table)
    else:
        replace_section(README, "bench", table)
        replace_section(PERFORMANCE, "growth", scaling_tables(run))
        plot.draw(plot.CHART, run)


def _parser() -> argparse.ArgumentParser:
    parser = project_parser("benchmarks.serving", "Compares this server with its peers.")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    seconds = f"of each load; default: {SECONDS:g}, quick {QUICK_SECONDS:g}"
    parser.add_argument("--seconds", type=float, help=seconds)
    parser.add_argument("--quick", action="store_true", help="ours, the tutorial's app and the limit only")
    models = (LAYOUT.model, SMALL_MODEL)
    parser.add_argument("--model", choices=models, default=LAYOUT.model, help=f"default: {LAYOUT.model}")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="measure this one, and write nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
