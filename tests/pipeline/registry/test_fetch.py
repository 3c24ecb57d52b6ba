"""`fetch` gets the pinned bundle from any of its places; only `--stand-in` accepts another one."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.registry.fetch import UNREGISTERED
from serving.artifact.bundle import Bundle
from serving.artifact.download import default_destination
from serving.artifact.pin import Pin
from tests.pipeline.projects import Project

PIN, BUNDLE = Path("pins/tiny.json"), Path("models/tiny/bundle")


@pytest.fixture
def clone(built: Project, tmp_path: Path) -> Project:
    """A clone without data, models and registry."""
    clone = built.clone(tmp_path / "clone")
    (clone.root / ".venv").mkdir()
    for mark in (".created", ".pipeline"):
        (clone.root / ".venv" / mark).touch()
    return clone


def pinned(project: Project) -> str:
    return Pin.read(project.root / PIN).digest


def test_what_is_there_is_left_alone(built: Project) -> None:
    printed = built.pipeline("fetch", "tiny").stdout
    assert printed == f"tiny {pinned(built)[:12]} is here, by way of workspace and registry\n"


def test_the_registry_is_asked(built: Project, clone: Project) -> None:
    registry = f"sqlite:///{built.root / 'mlflow.db'}"
    done = clone.pipeline("fetch", "tiny", MLFLOW_TRACKING_URI=registry)
    assert "by way of workspace and registry" in done.stdout, done.stderr
    pulled = default_destination(clone.root / "models", Pin.read(clone.root / PIN))
    assert Bundle.open(pulled).digest == pinned(clone)


def test_a_remote_of_dvc_is_asked(built: Project, clone: Project, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    built.succeed("dvc", "remote", "add", "--local", "--force", "there", remote)
    built.succeed("dvc", "push", "--remote", "there", str(BUNDLE))
    done = clone.run("make", "bundle", "MODEL=tiny", DVC_REMOTE=remote)
    assert "by way of DVC" in done.stdout, done.stdout + done.stderr
    assert Bundle.open(clone.root / BUNDLE).digest == pinned(clone)
    assert clone.changes() == ""


@pytest.mark.slow
def test_it_is_built_again_from_nothing_on_one_core(clone: Project) -> None:
    """Trains, which takes a minute on one core; the test below builds from the trained network."""
    # One core gives the same bytes as all: the number of threads is fixed.
    one_core = ("taskset", "-c", "0") if sys.platform == "linux" else ()
    done = clone.run(*one_core, sys.executable, "-m", "pipeline", "fetch", "tiny")
    assert "by way of building it again" in done.stdout, done.stdout + done.stderr
    assert Bundle.open(clone.root / BUNDLE).digest == pinned(clone)
    assert clone.changes() == ""


def test_it_is_built_again_or_something_else_stands_in(built: Project, clone: Project) -> None:
    # All that DVC has but the bundle, so that only the stage `export` runs.
    for folder in ("data/prepared/tiny", "models/tiny/build", ".dvc/cache/files"):
        shutil.copytree(built.root / folder, clone.root / folder, symlinks=True)
    locked = yaml.safe_load((clone.root / "dvc.lock").read_text())["stages"]["export@tiny"]["outs"][0]["md5"]
    (clone.root / f".dvc/cache/files/md5/{locked[:2]}/{locked[2:]}").unlink()
    done = clone.pipeline("fetch", "tiny")
    assert "by way of building it again" in done.stdout, done.stdout + done.stderr
    assert Bundle.open(clone.root / BUNDLE).digest == pinned(clone)
    assert clone.changes() == ""

    right = pinned(clone)
    (clone.root / PIN).write_bytes(Pin("tiny", 1, "0" * 64).to_bytes())
    done = clone.pipeline("fetch", "tiny")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {PIN} names {'0' * 64}, which cannot be obtained here. Tried:\n")
    for words in ("workspace and registry: ", "DVC: ", f"building it again: {BUNDLE}/manifest.json has"):
        assert words in done.stderr
    assert "DVC_REMOTE" in done.stderr
    assert pinned(clone) == "0" * 64

    done = clone.pipeline("fetch", "tiny", "--stand-in")
    assert done.returncode == 0, done.stderr
    assert Pin.read(clone.root / PIN) == Pin("tiny", UNREGISTERED, right)
    assert f"{PIN} names {right} now, which was built here" in done.stdout


def test_a_model_that_nobody_can_build_is_said(clone: Project) -> None:
    (clone.root / "pins/other.json").write_bytes(Pin("other", 1, "0" * 64).to_bytes())
    # Without the data nothing can be built that could stand in.
    done = clone.pipeline("fetch", "other", "--stand-in")
    assert done.returncode == 1
    assert "which cannot be obtained here" in done.stderr
    assert "building it again: `dvc repro export@other` ended with exit code" in done.stderr
    assert "Traceback" not in done.stderr
