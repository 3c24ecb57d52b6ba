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
def made() -> Iterator[Composition]:
    """PostgreSQL, MLflow, the model server and nginx; each must end well when it is told to."""
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"the composition needs programs: `apt-get install {' '.join(missing)}`")
    # Not one of pytest's folders, which only their owner may enter.
    with TemporaryDirectory(prefix="goldfish-compose-") as name:
        Path(name).chmod(0o755)
        made = Composition(Path(name))
        try:
            start_db(made)
            start_mlflow(made)
            pin(made)
            start_model(made)
            start_proxy(made)
            await_proxy(made)
            yield made
        finally:
            # As an engine does it: first who depends on others.
            ended = {name: made.stop(name) for name in list(made.services) if name in made.processes}
    assert ended == dict.fromkeys(made.services, 0)
