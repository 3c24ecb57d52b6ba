"""Whole reports of typical changes, compared with reviewed snapshots.

After a change of the text run `RENEW=1 python -m pytest tests/pipeline/report/test_snapshots.py`, then review
`git diff`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.pipeline.evaluated_models import (
    EvaluatedModel,
    create_released,
    create_repository,
    write_pin,
)
from tests.pipeline.projects import Project
from tests.serving.bundles import write_bundle

SNAPSHOTS = Path(__file__).parent / "snapshots"

OLD = EvaluatedModel(
    "old", {"000/001.png": ("dog", 0.9), "000/002.png": ("owl", 0.7), "001/003.png": ("cat", 0.6)}
)
BETTER = EvaluatedModel("new", {"000/001.png": ("owl", 0.55), "002/007.png": ("dog", 0.81)})
WORSE = EvaluatedModel(
    "bad",
    {f"00{place}/{number:03d}.png": ("owl", 0.5 + number / 40) for place in (0, 1) for number in range(12)},
)


CONFIDENCE = {
    "temperature": 0.7,
    "images": 30,
    "calibration_error": {"value": 0.0123, "interval": [0.004, 0.03], "if_calibrated": 0.01},
    "uncalibrated_error": {"value": 0.0821, "interval": [0.05, 0.1], "if_calibrated": 0.02},
    "label_sets": [
        {
            "level": 0.9,
            "coverage": 0.93,
            "coverage_interval": [0.8, 0.97],
            "mean_size": 1.1,
            "above_threshold": 0.93,
            "band": [0.8, 0.97],
        },
        {
            "level": 0.95,
            "coverage": 0.96,
            "coverage_interval": [0.9, 0.99],
            "mean_size": 1.4,
            "above_threshold": 0.96,
            "band": [0.88, 1.0],
        },
    ],
    "familiar": {"threshold": 5.1, "unfamiliar_share": 0.05, "foreign": {"all": {"auroc": 0.97}}},
}


def unchanged(root: Path) -> Project:
    project = create_released(root, OLD)
    (root / "notes.txt").write_text("of something else")
    project.commit("notes")
    return project


def improved(root: Path) -> Project:
    project = create_released(root, OLD)
    write_pin(root, BETTER.write(root), 2)
    project.commit("better, and pinned")
    return project


def calibrated(root: Path) -> Project:
    """A bundle with confidence after one without."""
    project = create_released(root, OLD)
    EvaluatedModel("new", BETTER.mistakes, confidence=CONFIDENCE).write(root)
    project.commit("with a temperature and label sets")
    return project


def refused(root: Path) -> Project:
    project = create_released(root, OLD)
    EvaluatedModel("bad", WORSE.mistakes, floor=0.8).write(root)
    project.commit("worse")
    return project


def out_of_date(root: Path) -> Project:
    """The code has changed since the evaluation, and the workspace's bundle is not the evaluated one."""
    project = create_released(root, OLD)
    (root / "evaluate.py").write_text("print('measured otherwise')\n")
    write_bundle(root / "models/tiny/bundle", "tiny")
    project.commit("code")
    return project


def new_model(root: Path) -> Project:
    project = create_repository(root)
    project.succeed("git", "switch", "-q", "-c", "change")
    BETTER.write(root)
    project.commit("a first model")
    return project


def other_params_and_data(root: Path) -> Project:
    project = create_released(root, OLD)
    text = (root / "params.yaml").read_text()
    described = text.partition("\n")[2].replace("tiny:", "next:")
    changed = text.replace("epochs: 1", "epochs: 7").replace("crop: 1.0", "crop: 0.9")
    (root / "params.yaml").write_text(f"{changed}\n{described}")
    EvaluatedModel("new", BETTER.mistakes, (*OLD.names, "ant"), train=120).write(root)
    project.commit("more data, another class, longer training; another model is described")
    return project


def rolled_back(root: Path) -> Project:
    """The change pins a version whose results are only in git history: not on main, not in the workspace."""
    project = create_released(root, OLD)
    project.succeed("git", "switch", "-q", "main")
    write_pin(root, WORSE.write(root), 2)
    project.commit("worse, and pinned")
    project.succeed("git", "switch", "-q", "-c", "rollback")
    write_pin(root, OLD, 1)
    project.commit("as before")
    return project


def pinned_elsewhere(root: Path) -> Project:
    """Main has other results than the pinned version."""
    project = create_released(root, OLD)
    project.succeed("git", "switch", "-q", "main")
    EvaluatedModel("between", {"001/001.png": ("owl", 0.8)}).write(root)
    project.commit("measured and not pinned")
    project.succeed("git", "switch", "-q", "-c", "later")
    BETTER.write(root)
    project.commit("measured again")
    return project


def pinned_and_forgotten(root: Path) -> Project:
    project = create_released(root, OLD)
    write_pin(root, EvaluatedModel("of another repository"), 7)
    project.commit("pinned by hand")
    return project


def hostile_names(root: Path) -> Project:
    names = ("a|b", "`rm -rf`", "![x](y)", "@everyone #1", "<img src=x>", "two\nlines\u202e", "", "x" * 200)
    mistakes = {f"{place:03d}/000.png": (names[place - 1], 0.9) for place in range(1, len(names))}
    project = create_released(root, EvaluatedModel("old", names=names))
    EvaluatedModel("new", mistakes, names).write(root)
    project.commit("names that want to be more than names")
    return project


def damaged(root: Path) -> Project:
    """The results of one of two models cannot be read; the other one is reported."""
    project = create_repository(root, ("tiny", "other"))
    OLD.write(root)
    project.commit("one model")
    project.succeed("git", "switch", "-q", "-c", "change")
    EvaluatedModel("other", model="other").write(root)
    (root / "reports/other/classes.csv").write_text("name,images\n| a `b`,many\n")
    project.commit("another one")
    return project


CHANGES: tuple[Callable[[Path], Project], ...] = (
    unchanged, improved, calibrated, refused, out_of_date, new_model, other_params_and_data, pinned_elsewhere,
    rolled_back, pinned_and_forgotten, hostile_names, damaged,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_report_reads_as_before(
    change: Callable[[Path], Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = change(tmp_path / "project")
    monkeypatch.chdir(project.root)
    assert main(["report"]) == 0
    found = masked(project)
    snapshot = SNAPSHOTS / f"{change.__name__}.md"
    if os.environ.get("RENEW"):
        snapshot.write_text(found, encoding="utf-8")
    assert found == snapshot.read_text(encoding="utf-8")


def masked(project: Project) -> str:
    """The report with commit subjects instead of hashes, which depend on the time of the commit."""
    text = (project.root / "report.md").read_text(encoding="utf-8")
    for line in project.succeed("git", "log", "--all", "--format=%H %s").splitlines():
        commit, subject = line.split(" ", 1)
        text = text.replace(commit[:10], f"<{subject}>").replace(commit[:8], f"<{subject}>")
    return text
