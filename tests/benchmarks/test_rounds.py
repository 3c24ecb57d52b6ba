"""A run measures who can be measured, says of the others why not, and knows wrong answers from right ones."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serving import wire
from benchmarks.serving.asking import Reference
from benchmarks.serving.contender import OURS, Contender
from benchmarks.serving.contenders import limit, ours
from benchmarks.serving.environments import PEERS, versions
from benchmarks.serving.project import find
from benchmarks.serving.results import RESULTS
from benchmarks.serving.rounds import Rounds, impersonal
from tests.repo.imports import ROOT

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def run(project: Path, contenders: list[Contender]) -> dict[str, dict[str, object]]:
    """One short round; gives the rows by name."""
    found = find(project)
    reference = Reference.of(found.default, found.asked)
    rows = Rounds(contenders, found, reference, seconds=1, rounds=1).rows()
    return {str(row["name"]): row for row in rows}


@needs_wrk
def test_others_are_measured_when_one_fails(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.serving.environments.PEERS", tmp_path / "peers")
    monkeypatch.setattr("benchmarks.serving.environments.CACHE", tmp_path / "cache")
    (tmp_path / "peers/nowhere").mkdir(parents=True)
    (tmp_path / "peers/nowhere/requirements.txt").write_text("x @ file:///nowhere/x-1.0-py3-none-any.whl\n")
    served = find(colours).default
    good = ours(served, colours / "reports")
    ended = replace(good, name="ended", command=lambda place: [sys.executable, "-c", "print('no licence')"])
    nowhere = replace(good, name="nowhere", peer="nowhere")
    rows = run(colours, [ended, nowhere, good, limit(served, find(colours).sent, 0.5)])
    assert "it ended: no licence" in str(rows["ended"]["failed"])
    assert "nowhere cannot be installed from requirements.txt: " in str(rows["nowhere"]["failed"])
    assert rows[good.name]["answers"] == {"asked": 200, "answered": 200, "right": 200, "agree": 200}
    assert rows[good.name]["kind"] == OURS
    assert "failed" not in rows["the limit, float32"]


@needs_wrk
def test_a_wrong_server_is_no_contender(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.asking.START", 5.0)
    liar = replace(wire.raw(wire.by_confidence), winner=lambda answer: "purple")
    good = ours(find(colours).default, colours / "reports")
    rows = run(colours, [replace(good, wire=liar)])
    assert "for purple" in str(rows[good.name]["failed"])


@needs_wrk
def test_the_command_tries_one_and_leaves_no_mark(colours: Path) -> None:
    before = RESULTS.read_bytes()
    chosen = ["--only", "Goldfish, float32", "--only", "the limit, float32"]
    short = ["--project", str(colours), "--rounds", "1", "--seconds", "1"]
    command = [sys.executable, "-m", "benchmarks.serving", *short, *chosen]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "| **Goldfish, float32** |" in done.stdout
    assert "| the limit, float32 |" in done.stdout
    assert RESULTS.read_bytes() == before


def test_reasons_tell_nothing_of_this_machine() -> None:
    reason = f"{ROOT}/x failed; {Path.home()}/y too; see https://index.example.org/simple/z and http://127.0.0.1:1/"
    assert impersonal(reason) == "./x failed; ~/y too; see <address> and http://127.0.0.1:1/"


@pytest.mark.parametrize("peer", sorted(path.name for path in PEERS.iterdir() if path.is_dir()))
def test_environments_are_of_exact_versions(peer: str) -> None:
    if peer != "__pycache__":
        assert [line for line in versions(peer) if "==" not in line.split(";")[0]] == []
