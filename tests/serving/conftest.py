"""The chains of fixtures: bundle -> predictor, and a server that tests share which leave it as it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.model.predictor import Predictor
from tests.serving.bundles import write_bundle
from tests.serving.decoding_cost import CostMeter
from tests.serving.images import CORPUS
from tests.serving.servers import Server, publish, running


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The folder of a whole bundle, which the test may spoil."""
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def predictor(bundle: Path) -> Predictor:
    """A predictor that is ready to answer."""
    return Predictor.open(bundle)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with default settings."""
    with running(publish(tmp_path_factory.mktemp("server"))) as started:
        yield started


@pytest.fixture(scope="session")
def meter() -> Iterator[CostMeter]:
    """A process that decodes one picture after the other, and tells what each costs."""
    with CostMeter() as started:
        # Whatever is loaded for a first picture.
        for data, _ in CORPUS.values():
            started.cost(data)
        yield started
