"""Fixtures: a bundle, a server for tests that do not change it, registries, and a cost meter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.model.predictor import Predictor
from tests.serving.bundles import write_bundle
from tests.serving.decoding_cost import CostMeter
from tests.serving.images import CORPUS
from tests.serving.registries import RegisteredBundle, mlflow_server, register_bundle
from tests.serving.servers import Server, publish, running


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The folder of a complete bundle, which the test may change."""
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def predictor(bundle: Path) -> Predictor:
    """The predictor of that bundle."""
    return Predictor.open(bundle)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with default settings."""
    with running(publish(tmp_path_factory.mktemp("server"))) as started:
        yield started


@pytest.fixture(scope="session")
def meter() -> Iterator[CostMeter]:
    """A subprocess that decodes images and measures what each takes."""
    with CostMeter() as started:
        # Decoders allocate memory once for the first image of a format.
        for data, _ in CORPUS.values():
            started.measure(data)
        yield started


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> RegisteredBundle:
    """A bundle in an embedded registry."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        # MLflow's artifacts lie in the current directory.
        patch.chdir(folder)
        return register_bundle(f"sqlite:///{folder}/mlflow.db", folder)


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteredBundle]:
    """A bundle in a server's registry."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder) as address:
        yield register_bundle(address, folder)
