"""Fixtures: a built project, made once for all tests that only look at it or mend what they break."""

from pathlib import Path

import pytest

from pipeline.environment import Environment
from pipeline.registry.mlflow_registry import Registry
from tests.pipeline.projects import AUTHOR, TINY, Project, tiny_project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after `python -m pipeline run tiny`, everything committed."""
    project = tiny_project(tmp_path_factory.mktemp("built") / "project")
    done = project.pipeline("run", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    (project.root / "summary.txt").write_text(done.stdout)
    project.commit("built")
    return project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project with params for `tiny`, which is the current directory; nothing is built."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text(TINY)
    (root / ".gitignore").write_text("/models\n/data\n/reports\n/mlflow.db*\n/mlartifacts\n")
    result = Project(root, AUTHOR)
    result.succeed("git", "init", "-q", "-b", "main")
    result.commit("begin")
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return result


@pytest.fixture
def registry(project: Project, database: bytes) -> Registry:
    """The embedded registry of the empty project; its tables are copied, creating them takes seconds."""
    (project.root / "mlflow.db").write_bytes(database)
    return Registry.connect(Environment(None, project.root, experiment=False))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with MLflow's tables and nothing in them."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    Registry.connect(Environment(f"sqlite:///{path}", path, experiment=False))
    return path.read_bytes()
