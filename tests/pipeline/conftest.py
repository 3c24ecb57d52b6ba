"""Fixtures: a built project, which each test leaves as it was, and an empty one for each test."""

import shutil
from pathlib import Path

import pytest

from pipeline.environment import Environment
from pipeline.registry.mlflow_registry import Registry
from tests.conftest import build_once
from tests.pipeline.projects import AUTHOR, EMBEDDED_REGISTRY, TINY, Project, tiny_project


@pytest.fixture(scope="session")
def built(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after `python -m pipeline run tiny`, everything committed. Each test leaves it as it was.

    It is built once per run; each process gets a copy, because tests change files for a moment.
    """

    def build(root: Path) -> None:
        project = tiny_project(root)
        done = project.pipeline("run", "tiny")
        assert done.returncode == 0, done.stdout + done.stderr
        (root / "summary.txt").write_text(done.stdout)
        project.commit("built")

    original = build_once(run_folder / "built", build)
    project = Project(tmp_path_factory.mktemp("built") / "project", EMBEDDED_REGISTRY)
    shutil.copytree(original, project.root, symlinks=True)
    # mlflow.db has absolute paths of the artifacts.
    assert project.pipeline("repair", "tiny").returncode == 0
    return project


@pytest.fixture
def inside_built(built: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The built project as the current directory: commands run in this process, which takes less time."""
    monkeypatch.chdir(built.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return built


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
def database(run_folder: Path) -> bytes:
    """An SQLite database with MLflow's tables, which are empty."""

    def build(path: Path) -> None:
        Registry.connect(Environment(f"sqlite:///{path}", path, experiment=False))

    return build_once(run_folder / "mlflow.db", build).read_bytes()
