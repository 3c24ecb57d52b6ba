"""Chain of fixtures: engine -> base image -> clone with a pinned bundle -> its image."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.deploy.engine import base_image, docker, engine, environment
from tests.pipeline.projects import Project, copy_of_the_working_tree
from tests.serving.servers import publish

IMAGE = "goldfish-test-colours"
# Key of the table with the image's size and start time, for the summary of the test run.
SHOWN = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the image's size and start time if they were measured."""
    if SHOWN in config.stash:
        terminalreporter.section("the image")
        terminalreporter.write(config.stash[SHOWN])


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """The name of a base image, and an engine that has it."""
    with engine() as folder:
        yield base_image(folder)
        for image in (IMAGE, f"{IMAGE}-unbaked"):
            docker("image", "rm", "--force", image, check=False)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone with a pinned bundle in its workspace, and with files that must not get into an image."""
    project = copy_of_the_working_tree(
        tmp_path_factory.mktemp("image") / "project", {"MLFLOW_TRACKING_URI": ""}
    )
    for pin in (project.root / "pins").iterdir():
        pin.unlink()
    publish(project.root, extra={"data/model.keras": b"only the pipeline needs it"})
    project.commit("a pinned model")
    (project.root / ".env").write_text("PASSWORD=secret\n")
    return project


@pytest.fixture
def spoiled(clone: Project, tmp_path: Path) -> Project:
    """A copy of the clone that a test may change."""
    shutil.copytree(clone.root, tmp_path / "project")
    return Project(tmp_path / "project", clone.environment)


@pytest.fixture(scope="session")
def image(base: str, clone: Project) -> str:
    """The image that `make image` builds in the clone."""
    done = make(clone, base)
    assert done.returncode == 0, done.stdout + done.stderr
    return IMAGE


def make(
    project: Project,
    base: str,
    verb: str = "image",
    marks: tuple[str, ...] = (".created", ".serving"),
    **variables: str,
) -> CompletedProcess[str]:
    """Runs a target of the Makefile with this interpreter's environment instead of the project's own.

    `marks` are the files by which make sees that an environment is installed.
    """
    for mark in marks:
        (project.root / ".venv").mkdir(exist_ok=True)
        (project.root / ".venv" / mark).touch()
    settings = {
        "MODEL": "colours",
        "IMAGE": IMAGE,
        "BASE": base,
        "BUILD_OPTIONS": "--network host",
    } | variables
    named = [f"{name}={value}" for name, value in settings.items()]
    command = ("make", "--silent", "--no-print-directory", verb, *named)
    return project.run(*command, PATH=environment()["PATH"], DOCKER_BUILDKIT="1")
