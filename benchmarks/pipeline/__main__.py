"""Measures the pipeline: `python -m benchmarks.pipeline [--project DIR]`, six minutes.

Reads a project in which `make run MODEL=imagenet` was done; the digits are built in a clone of this one.
Writes `benchmarks/pipeline.json`, and tables in `docs/pipeline.md` and `README.md`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.documents import show
from benchmarks.pipeline import sample, stages
from benchmarks.pipeline.results import DOCUMENT, README, RESULTS, place
from benchmarks.pipeline.tables import table, targets
from benchmarks.serving import project
from benchmarks.serving.command import Run, carry_out
from benchmarks.serving.machine import moment


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes; 1 and a sentence if something is missing."""
    options = _parser().parse_args(arguments)

    def measured() -> Run:
        with tempfile.TemporaryDirectory(prefix="goldfish-") as folder:
            return measure(project.find(options.project), Path(folder))

    return carry_out(measured, write)


def write(run: Run) -> None:
    """Keeps the figures, and shows them where they belong."""
    RESULTS.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "pipeline", table(run))
    show(README, "pipeline", targets(run))
    print(table(run))


def measure(found: project.Project, folder: Path) -> Run:
    """The figures of one run."""
    photos = sample.photos_of(found)
    rates = sample.rates(found.default, photos, found.root / project.LAYOUT.test, _tell)
    grown = sample.grown(found.default, photos, folder, _tell)
    return moment() | place() | {"answers": rates, "grown": grown} | stages.measure(folder, _tell)


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description="Measures the pipeline."
    )
    parser.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="where imagenet was built; default: here"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
