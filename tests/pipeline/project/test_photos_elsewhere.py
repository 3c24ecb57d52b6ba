"""A fork of a project with `dvc add`ed photos, and without its remote, has only their .dvc file."""

from pathlib import Path

import pytest

from tests.pipeline.projects import Project


@pytest.fixture(scope="module")
def fork(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone without photos, models, cache or remote, in which nothing has changed."""
    owner = built.clone(tmp_path_factory.mktemp("owner") / "project")
    owner.succeed("git", "rm", "-q", "-r", "--cached", "data/raw/tiny")
    owner.succeed("dvc", "add", "-q", "data/raw/tiny")
    owner.succeed("git", "add", "-f", "data/raw/tiny.dvc")
    owner.commit("photos are kept by DVC")
    clone = owner.clone(tmp_path_factory.mktemp("fork") / "project")
    (clone.root / ".venv").mkdir()
    for mark in (".created", ".pipeline"):
        (clone.root / ".venv" / mark).touch()
    return clone


@pytest.mark.parametrize("verb", ["evaluate", "register"])
def test_what_has_not_changed_needs_no_photos(fork: Project, verb: str) -> None:
    done = fork.run("make", verb)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny: data/raw/tiny is not here; nothing has changed that would need it" in done.stdout
    assert "Running stage" not in done.stdout
    assert fork.changes() == ""


def test_what_has_changed_says_whose_photos_it_needs(fork: Project) -> None:
    path = Path(fork.root / "params.yaml")
    before = path.read_text()
    try:
        path.write_text(before.replace("seed: 1", "seed: 2"))
        done = fork.run("make", "evaluate")
    finally:
        path.write_text(before)
    assert done.returncode != 0
    assert "error: tiny cannot be built here: only the .dvc file of data/raw/tiny is here." in done.stderr
    assert "`dvc pull`" in done.stderr


def test_run_says_so_too(fork: Project) -> None:
    done = fork.pipeline("run", "tiny")
    assert done.returncode == 1
    assert "only the .dvc file of data/raw/tiny is here" in done.stderr
    assert "`make run` builds one" not in done.stderr
