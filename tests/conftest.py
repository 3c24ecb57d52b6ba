"""How test files are distributed over processes, and fixtures that are built once per run."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from serving.cpu_count import available_cores
from tests.imagenet import OFFLINE
from tests.pipeline.projects import AUTHOR, Project, copy_of_the_working_tree

# Files that share a costly fixture, by the start of their path: all of them run in the same process.
GROUPS = ("tests/deploy/composition/", "tests/deploy/kubernetes/", "tests/deploy/")
# Started first, so that no process is still busy with one of them when the others have finished. test_run.py
# builds the project that others need, while the other processes run files that do not need it.
LONGEST = (
    "tests/pipeline/project/test_run.py",
    "tests/deploy/",
    "tests/pipeline/project/",
    "tests/pipeline/registry/",
    "tests/pipeline/evaluation/",
    "tests/pipeline/onnx/",
    "tests/serving/server/",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, because some tests wait for deadlines; at most 8, each takes 1 GB."""
    return min(round(available_cores()) + 1, 8)


class SchedulingByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """Runs all tests of a file, or of a group of files, in one process, so their fixtures are built once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((group for group in GROUPS if file.startswith(group)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SchedulingByFile:
    """Replaces the scheduler that `--dist` would choose."""
    # Keeps the order of collection; xdist would start with the file that has most tests.
    config.option.loadscopereorder = False
    return SchedulingByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that take longest to the front.

    Fails if a test file loaded TensorFlow before pipeline/network/backend.py had configured it: all tests of
    the process would then compute with other kernels than the pipeline.
    """
    if "tensorflow" in sys.modules and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
        raise pytest.UsageError(
            "TensorFlow was loaded without pipeline.network.backend: import keras from there"
        )

    def rank(item: pytest.Item) -> int:
        ranks = (rank for rank, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(ranks, len(LONGEST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Exempts what was imported so far from garbage collection.

    `keras.backend.clear_session` collects garbage, which would take 0.4 s each time.
    """
    gc.freeze()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def build_once(folder: Path, build: Callable[[Path], object]) -> Path:
    """Calls `build(folder)` in the first process that needs the folder; the others wait, and share it."""
    done = folder.with_name(f"{folder.name}.done")
    # Not "mlflow.db.lock", which the registry itself takes.
    with FileLock(f"{folder}.build.lock"):
        if not done.exists():
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def imagenet(run_folder: Path) -> Project:
    """A project that has built ImageNet's model from the cache and pinned it. Read-only."""

    def build(root: Path) -> None:
        done = copy_of_the_working_tree(root, OFFLINE).pipeline("run", "imagenet")
        assert done.returncode == 0, done.stdout + done.stderr

    return Project(build_once(run_folder / "imagenet", build), {**AUTHOR, **OFFLINE})
