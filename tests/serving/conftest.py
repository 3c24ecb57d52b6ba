"""The chain of fixtures: bundle -> predictor."""

from pathlib import Path

import pytest

from serving.predictor import Predictor
from tests.serving.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The folder of a whole bundle, which the test may spoil."""
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def predictor(bundle: Path) -> Predictor:
    """A predictor that is ready to answer."""
    return Predictor.open(bundle)
