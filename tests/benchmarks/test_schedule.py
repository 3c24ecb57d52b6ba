"""A run measures contenders, records why others failed, and detects wrong predictions."""

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.documents import ROOT
from benchmarks.errors import NotInstalled
from benchmarks.serving import wire_formats
from benchmarks.serving.__main__ import RESULTS
from benchmarks.serving.contenders import OURS, Contender, bare_limit, goldfish
from benchmarks.serving.environments import IMAGE, IMAGE_PYTHON, PEERS, bin_folder, versions
from benchmarks.serving.project import Project, find_project
from benchmarks.serving.schedule import measure_contenders, redact
from benchmarks.serving.selection import all_contenders
from benchmarks.serving.statistics import Row
from benchmarks.serving.verification import Reference

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def measure(project: Project, contenders: list[Contender]) -> dict[str, Row]:
    """One short round; returns the rows by name."""
    reference = Reference.predict(project.default, project.accuracy_photos)
    rows = measure_contenders(contenders, project, reference, seconds=1, rounds=1)
    return {row["name"]: row for row in rows}


@needs_wrk
def test_others_are_measured_when_one_fails(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.serving.environments.PEERS", tmp_path / "peers")
    monkeypatch.setattr("benchmarks.serving.environments.CACHE", tmp_path / "cache")
    (tmp_path / "peers/nowhere").mkdir(parents=True)
    (tmp_path / "peers/nowhere/requirements.txt").write_text("x @ file:///nowhere/x-1.0-py3-none-any.whl\n")
    project = find_project(colours)
    good = goldfish(project, project.default)
    failing = [sys.executable, "-c", "print('no licence')"]
    ended = replace(good, name="ended", command=failing)
    nowhere = replace(good, name="nowhere", venv="nowhere")
    limit = bare_limit(project.default, project.load_photos, 0.5)
    rows = measure(project, [ended, nowhere, good, limit])
    assert "it ended: no licence" in rows["ended"]["failed"]
    assert "nowhere cannot be installed from requirements.txt: " in rows["nowhere"]["failed"]
    assert rows[good.name]["answers"] == {"asked": 200, "answered": 200, "right": 200, "agree": 200}
    assert rows[good.name]["kind"] == OURS
    assert "failed" not in rows["the limit, float32"]


@needs_wrk
def test_wrong_predictions_are_a_failure(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.verification.START_TIMEOUT", 5.0)
    # Asking fifty times a second until then would keep two cores busy.
    monkeypatch.setattr("benchmarks.serving.verification.RETRY_INTERVAL", 0.25)
    project = find_project(colours)
    good = goldfish(project, project.default)
    wrong = replace(wire_formats.raw(wire_formats.highest_confidence), top_class=lambda response: "purple")
    rows = measure(project, [replace(good, wire_format=wrong)])
    assert "as purple" in rows[good.name]["failed"]


# Slow: 8 s. The tests above measure contenders in this process.
@pytest.mark.slow
@needs_wrk
def test_only_prints_a_table_and_writes_nothing(colours: Path) -> None:
    before = RESULTS.read_bytes()
    only = ["--only", "Goldfish, float32", "--only", "the limit, float32"]
    short = ["--project", str(colours), "--rounds", "1", "--seconds", "1"]
    command = [sys.executable, "-m", "benchmarks.serving", *short, *only]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "| **Goldfish, float32** |" in done.stdout
    assert "| the limit, float32 |" in done.stdout
    assert RESULTS.read_bytes() == before


def test_reasons_do_not_identify_this_machine() -> None:
    reason = f"{ROOT}/x failed; {Path.home()}/y too; see https://index.example.org/simple/z and http://127.0.0.1:1/"
    assert redact(reason) == "./x failed; ~/y too; see <address> and http://127.0.0.1:1/"


PEER_FOLDERS = sorted(path.name for path in PEERS.iterdir() if (path / "requirements.txt").exists())
# Their application is the bundle, and a folder that `benchmarks.image` uses too.
WITHOUT_APP = {"mlflow", "tutorial"}


@pytest.mark.parametrize("peer", PEER_FOLDERS)
def test_requirements_are_exact_versions(peer: str) -> None:
    assert [line for line in versions(peer) if "==" not in line.split(";")[0]] == []


def test_every_peer_has_a_contender(colours: Path) -> None:
    contenders = all_contenders(find_project(colours), 1.0, quick=False)
    rows = [row for row in contenders if row.venv not in ("", IMAGE)]
    assert sorted(row.venv for row in rows) == PEER_FOLDERS
    for row in rows:
        assert row.wire_format.encode(b"photo")
        assert (row.venv in WITHOUT_APP) != (PEERS / row.venv / "app.py").exists()


@pytest.mark.parametrize("peer", sorted(set(PEER_FOLDERS) - WITHOUT_APP))
def test_peers_share_classifier_and_libraries(peer: str) -> None:
    shared = {line for line in versions("mlflow") if not line.startswith("mlflow==")}
    # PyTriton requires numpy before 2.
    different = {line for line in shared if peer == "pytriton" and line.startswith("numpy==")}
    assert shared - different <= set(versions(peer))
    assert "from classifier import Classifier" in (PEERS / peer / "app.py").read_text(encoding="utf-8")


def test_the_python_of_the_image_is_measured_with_the_packages_of_the_server(colours: Path) -> None:
    assert f"ARG BASE=python:{IMAGE_PYTHON}-slim@" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    rows = [row for row in all_contenders(find_project(colours), 1.0, quick=False) if row.venv == IMAGE]
    assert [row.name.endswith(f", Python {IMAGE_PYTHON}") for row in rows] == [True]
    assert f"onnxruntime=={version('onnxruntime')}" in versions(IMAGE)


def test_an_installation_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.serving.environments.CACHE", tmp_path)
    monkeypatch.setattr("benchmarks.serving.environments.INSTALL_TIMEOUT", 0.01)
    with pytest.raises(NotInstalled, match=r"flask cannot be installed .* longer than 0.01 s"):
        bin_folder("flask")
