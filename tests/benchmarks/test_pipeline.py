"""The benchmark of the pipeline: real processes on small data, and tables to be told by hand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.documents import ROOT, section
from benchmarks.pipeline import sample, stages
from benchmarks.pipeline.__main__ import main
from benchmarks.pipeline.commands import output
from benchmarks.pipeline.errors import CommandFailed
from benchmarks.pipeline.results import DOCUMENT, README, RESULTS
from benchmarks.pipeline.tables import table, targets
from benchmarks.serving.project import ASKED, LAYOUT, find
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
    assert section(DOCUMENT, "pipeline") == table(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_the_readme_shows_what_was_measured() -> None:
    assert section(README, "pipeline") == targets(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_the_readme_says_which_targets_are_met() -> None:
    shown = targets(RUN | {"commands": RUN["commands"] | {"again": 6.0}})
    assert "| `make run` after set-up, from nothing | ≤ 180 s | 69.0 s | met |" in shown
    assert "| `dvc repro`, nothing changed | ≤ 3 s | 6.0 s | missed by 100 % |" in shown


def test_links_of_the_manual_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)\s#]+)", DOCUMENT.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (DOCUMENT.parent / link).exists()] == []


def test_the_table_tells_what_dvc_takes_besides_its_stages() -> None:
    shown = table(RUN).splitlines()
    assert "| build | 60.0 s | 5.0 s |" in shown
    assert "| DVC itself | 1.0 s | |" in shown
    assert "| **`dvc repro`** | **64.0 s** | 6.5 s |" in shown
    assert "| `make run` again, nothing changed | 4.0 s | |" in shown


def test_the_table_says_whether_the_target_is_met() -> None:
    assert "| ≥ 0.8 x | 0.95 x | met |" in table(RUN)
    slow = RUN | {"answers": RUN["answers"] | {"share": 0.4}}
    assert "| ≥ 0.8 x | 0.40 x | missed by 50 % |" in table(slow)
    assert "| 20,000 | 17.0 s | 50, 120 MB | 45.0 s | 80, 120 MB |" in table(RUN)
    assert "380 against 400 photos/s" in table(RUN)


def test_a_larger_sample_is_the_same_photos_again(colours: Path, tmp_path: Path) -> None:
    photos = sample.photos_of(find(colours))
    folder = sample.listed(photos, 2 * ASKED + 1, tmp_path / "links")
    links = [path for path in folder.rglob("*") if path.is_file()]
    assert len(links) == 2 * ASKED + 1
    assert {link.resolve() for link in links} == {photo.resolve() for photo in photos}
    assert all(link.parent.name == link.resolve().parent.name for link in links)


def test_a_process_tells_images_seconds_and_memory(colours: Path) -> None:
    bundle, photos = (colours / LAYOUT.bundle).resolve(), (colours / LAYOUT.test).resolve()
    for seen in (sample.asked("answers", photos, bundle), sample.asked("checks", photos)):
        assert seen["images"] == ASKED
        assert seen["seconds"] > 0
        assert 0 < seen["before_mb"] <= seen["peak_mb"]


def test_what_is_measured_is_what_dvc_runs() -> None:
    assert list(stages.STAGES) == list(STAGES)


def test_the_stand_in_notes_a_stage(tmp_path: Path) -> None:
    done = started(tmp_path, "--help")
    assert done.returncode == 0
    assert "Checks and splits the images" in done.stdout
    seen = stages.noted(tmp_path / "notes", "prepare")
    assert 0 < seen["imports"] <= seen["seconds"] + 0.1


def test_the_stand_in_ends_as_the_stage_does(tmp_path: Path) -> None:
    done = started(tmp_path, "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "import time:" not in done.stderr


def started(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The stage `prepare` as DVC starts it, in a folder without params."""
    variables = os.environ | stages.surroundings(folder) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["sh", "-c", 'exec python -m pipeline.stages.prepare "$@"', "sh", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended with exit code 3: no luck"):
        output([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_without_a_project_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = RESULTS.read_bytes()
    assert main(["--project", str(tmp_path)]) == 1
    assert "run `make run MODEL=imagenet` first" in capsys.readouterr().err
    assert RESULTS.read_bytes() == before
