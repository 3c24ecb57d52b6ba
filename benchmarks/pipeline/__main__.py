"""Measures the pipeline: `python -m benchmarks.pipeline [--project DIR]`, six minutes.

Reads a project in which `make run MODEL=imagenet` was done; builds the model digits in a copy of this one.
Writes `benchmarks/pipeline.json`, and tables in `docs/pipeline.md` and `README.md`.
"""

import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.command_line import Run, measure_and_write, project_parser
from benchmarks.documents import PIPELINE, README, ROOT, replace_section, write_json
from benchmarks.interference import check_undisturbed
from benchmarks.pipeline.stage_times import measure_stages
from benchmarks.pipeline.tables import pipeline_tables, summary_table
from benchmarks.pipeline.throughput import compare_with_limit, measure_samples
from benchmarks.serving.conditions import cpu_model, date_and_commit
from benchmarks.serving.project import LAYOUT, Project, find_project, list_test_photos
from serving.cpu_count import available_cores

RESULTS = ROOT / "benchmarks/pipeline.json"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = project_parser("benchmarks.pipeline", "Measures the pipeline.").parse_args(arguments)
    return measure_and_write(lambda: run(find_project(options.project)), write)


def run(project: Project) -> Run:
    """Measures throughput, larger samples and stages."""
    photos = list_test_photos(project.root)
    with tempfile.TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        return {
            **date_and_commit(),
            "cpu": cpu_model(),
            "cores": available_cores(),
            "python": platform.python_version(),
            "answers": compare_with_limit(project.default, photos, project.root / LAYOUT.test),
            "grown": measure_samples(project.default, photos, folder),
            **measure_stages(folder),
        }


def write(run: Run) -> None:
    """Writes the results, and shows them in the documents.

    Raises `Disturbed` instead if others disturbed the comparison with the limit.
    """
    shares = {"evaluate and the bare limit": run["answers"]["others"]}
    check_undisturbed(shares, pipeline_tables(run))
    write_json(RESULTS, run)
    replace_section(PIPELINE, "pipeline", pipeline_tables(run))
    replace_section(README, "pipeline", summary_table(run))


if __name__ == "__main__":
    sys.exit(main())
