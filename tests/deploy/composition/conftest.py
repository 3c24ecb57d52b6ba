"""The running composition, with a pinned model."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.deploy.composition.pins import pin
from tests.deploy.composition.processes import PATH, Composition
from tests.deploy.composition.services import await_proxy, start_db, start_mlflow, start_model, start_proxy

PROGRAMS = {
    "nginx": "nginx-light",
    "postgres": "postgresql",
    "envsubst": "gettext-base",
    "curl": "curl",
    "setpriv": "util-linux",
}


@pytest.fixture(scope="package")
def stack() -> Iterator[Composition]:
    """PostgreSQL, MLflow, the model server and nginx as processes; each must exit with 0 at the end."""
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"the composition needs programs: `apt-get install {' '.join(missing)}`")
    # Not tmp_path, which only its owner may enter: the services run as other users.
    with TemporaryDirectory(prefix="goldfish-compose-") as name:
        Path(name).chmod(0o755)
        stack = Composition(Path(name))
        try:
            start_db(stack)
            start_mlflow(stack)
            pin(stack)
            start_model(stack)
            start_proxy(stack)
            await_proxy(stack)
            yield stack
        finally:
            # In the order of Compose: services that depend on others stop first.
            ended = {name: stack.stop(name) for name in list(stack.services) if name in stack.processes}
    assert ended == dict.fromkeys(stack.services, 0)
