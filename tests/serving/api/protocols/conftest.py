"""Servers for the tests of protocols."""

from collections.abc import Iterator

import pytest

from tests.serving.api.protocols.mlmodel import mlmodel
from tests.serving.servers import Server, publish, running

VERTEX = {"AIP_HEALTH_ROUTE": "/vertex/health", "AIP_PREDICT_ROUTE": "/vertex/predict"}


@pytest.fixture(scope="session")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose bundle MLflow loads too, with the routes that Vertex AI names."""
    folder = publish(tmp_path_factory.mktemp("everywhere"), extra={"MLmodel": mlmodel()})
    with running(folder, **VERTEX) as started:
        yield started
