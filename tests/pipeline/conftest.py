"""Fixtures: a built project, made once for all tests that only look at it or mend what they break."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.pipeline.projects import Project, tiny_project

Flip = Callable[[Path], AbstractContextManager[None]]


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
def flipped() -> Flip:
    """Changes one byte in the middle of a file, for as long as a block runs."""

    @contextmanager
    def flip(path: Path) -> Iterator[None]:
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        try:
            yield
        finally:
            path.write_bytes(whole)

    return flip
