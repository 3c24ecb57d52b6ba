"""The pipeline benchmark: real processes on small data, and tables that can be computed by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commands import run_command
from benchmarks.documents import PIPELINE, README, ROOT, section
from benchmarks.errors import CommandFailed
from benchmarks.pipeline import stage_times
from benchmarks.pipeline.__main__ import RESULTS, main
from benchmarks.pipeline.tables import pipeline_tables, summary_table
from benchmarks.pipeline.throughput import link_photos, run_task
from benchmarks.serving.project import ACCURACY_PHOTOS, LAYOUT, list_test_photos
from tests.repo.stages import STAGES

RUN: dict[str, Any] = {
    "date": "2026-11-22", "commit": "abc", "cpu": "A CPU", "cores": 2.0,
    "answers": {
        "precision": "8 bit", "photos": 953, "mean_bytes": 110_605, "rounds": 5, "rate": 380.0,
        "limit": 400.0, "share": 0.95,
    },
    "grown": [{
        "images": 20_000, "checks_seconds": 17.0, "checks_before_mb": 50, "checks_mb": 120,
        "answers_seconds": 45.0, "answers_before_mb": 80, "answers_mb": 120,
    }],
    "stages": [{"stage": "prepare", "seconds": 3.0, "imports": 1.5},
               {"stage": "build", "seconds": 60.0, "imports": 5.0}],
    "commands": {"first": 64.0, "again": 1.0, "pinning": 5.0, "run": 4.0},
}  # fmt: skip


def test_the_manual_shows_what_was_measured() -> None:
    assert section(PIPELINE, "pipeline") == pipeline_tables(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_the_readme_shows_what_was_measured() -> None:
    assert section(README, "pipeline") == summary_table(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_the_readme_shows_which_targets_are_met() -> None:
    shown = summary_table(RUN | {"commands": RUN["commands"] | {"again": 6.0}})
    assert "| `make run` after set-up, from nothing | ≤ 180 s | 69.0 s | met |" in shown
    assert "| `dvc repro`, nothing changed | ≤ 3 s | 6.0 s | missed by 100 % |" in shown


def test_the_table_shows_the_time_of_dvc_itself() -> None:
    shown = pipeline_tables(RUN).splitlines()
    assert "| build | 60.0 s | 5.0 s |" in shown
    assert "| DVC itself | 1.0 s | |" in shown
    assert "| **`dvc repro`** | **64.0 s** | 6.5 s |" in shown
    assert "| `make run` again, nothing changed | 4.0 s | |" in shown


def test_the_table_shows_whether_the_target_is_met() -> None:
    assert "| ≥ 0.8 x | 0.95 x | met |" in pipeline_tables(RUN)
    slow = RUN | {"answers": RUN["answers"] | {"share": 0.4}}
    assert "| ≥ 0.8 x | 0.40 x | missed by 50 % |" in pipeline_tables(slow)
    assert "| 20,000 | 17.0 s | 50, 120 MB | 45.0 s | 80, 120 MB |" in pipeline_tables(RUN)
    assert "380 against 400 photos/s" in pipeline_tables(RUN)


def test_a_larger_sample_repeats_the_photos(colours: Path, tmp_path: Path) -> None:
    photos = list_test_photos(colours)
    folder = link_photos(photos, 2 * ACCURACY_PHOTOS + 1, tmp_path / "links")
    links = [path for path in folder.rglob("*") if path.is_file()]
    assert len(links) == 2 * ACCURACY_PHOTOS + 1
    assert {link.resolve() for link in links} == {photo.resolve() for photo in photos}
    assert all(link.parent.name == link.resolve().parent.name for link in links)


def test_a_task_reports_images_seconds_and_memory(colours: Path) -> None:
    bundle, photos = (colours / LAYOUT.bundle).resolve(), (colours / LAYOUT.test).resolve()
    for figures in (run_task("answers", photos, bundle), run_task("checks", photos)):
        assert figures["images"] == ACCURACY_PHOTOS
        assert figures["seconds"] > 0
        assert 0 < figures["before_mb"] <= figures["peak_mb"]


def test_all_stages_are_measured() -> None:
    assert list(stage_times.STAGES) == list(STAGES)


def test_the_wrapper_records_a_stage(tmp_path: Path) -> None:
    done = run_wrapped(tmp_path, "--help")
    assert done.returncode == 0
    assert "Checks and splits the images" in done.stdout
    figures = stage_times.read_records(tmp_path, "prepare")
    assert 0 < figures["imports"] <= figures["seconds"] + 0.1


def test_the_wrapper_keeps_exit_code_and_stderr(tmp_path: Path) -> None:
    done = run_wrapped(tmp_path, "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "import time:" not in done.stderr


def run_wrapped(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the stage `prepare` as DVC does, in a folder without params."""
    variables = os.environ | stage_times.install_wrapper(folder) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["sh", "-c", 'exec python -m pipeline.stages.prepare "$@"', "sh", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_failed_command_is_an_error_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended with exit code 3: no luck"):
        run_command(
            [sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"], tmp_path
        )


def test_without_a_project_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = RESULTS.read_bytes()
    assert main(["--project", str(tmp_path)]) == 1
    assert "run `make run MODEL=imagenet` first" in capsys.readouterr().err
    assert RESULTS.read_bytes() == before
