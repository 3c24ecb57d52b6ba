"""Servers for the tests of protocols."""

from collections.abc import Iterator

import pytest

from tests.serving.api.protocols.mlmodel import mlmodel
from tests.serving.servers import Server, publish, running

VERTEX = {"AIP_HEALTH_ROUTE": "/vertex/health", "AIP_PREDICT_ROUTE": "/vertex/predict"}


@pytest.fixture(scope="session")
def protocol_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all protocols: its bundle can be loaded by MLflow, and Vertex AI's routes are set."""
    folder = publish(tmp_path_factory.mktemp("protocols"), extra={"MLmodel": mlmodel()})
    with running(folder, **VERTEX) as started:
        yield started
