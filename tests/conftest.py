"""What tests of several parts share: ImageNet's model takes more than a minute to build."""

import pytest

from tests.imagenet import OFFLINE
from tests.pipeline.projects import Project, copy_of_the_working_tree


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has built ImageNet's model from the cache, and pinned it."""
    project = copy_of_the_working_tree(tmp_path_factory.mktemp("imagenet") / "project", OFFLINE)
    done = project.pipeline("run", "imagenet")
    assert done.returncode == 0, done.stdout + done.stderr
    return project
