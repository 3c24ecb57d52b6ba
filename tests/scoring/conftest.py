"""Fixtures: a workspace, a folder with many images, and its result."""

from pathlib import Path

import pytest

from tests.scoring.workspace import make_workspace, score, write_colours

# Two whole parts and a short one.
IMAGES = 2300


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the model `colours`, which no test changes."""
    return make_workspace(tmp_path_factory.mktemp("scoring"))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `IMAGES` small images."""
    return write_colours(tmp_path_factory.mktemp("many"), IMAGES)


@pytest.fixture(scope="session")
def undisturbed(workspace: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run over that folder that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = score(workspace, str(many), "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out
