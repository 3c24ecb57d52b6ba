"""A bundle that fails on an image is counted, and says why."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from PIL import Image

from pipeline.comparison.measurement import measure
from pipeline.comparison.photos import Photo
from pipeline.comparison.versions import Version
from serving.model.predictor import Predictor, create_session
from serving.trial.decision import Rules, State
from tests.serving.bundles import onnx_graph, write_bundle


def without_softmax() -> bytes:
    """A graph that returns logits."""
    model = onnx.load_from_string(onnx_graph(energy=True))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.op_type = "Identity"
    softmax.ClearField("attribute")
    return bytes(model.SerializeToString())


BROKEN_GRAPHS = {
    "its outputs are no probabilities": without_softmax(),
    # The predictor calls it `image`.
    "ValueError: Required inputs": onnx_graph(image="photo", energy=True),
}


@pytest.fixture
def version(tmp_path: Path) -> Version:
    """A bundle that works."""
    return Version("bundle", None, Predictor.open(write_bundle(tmp_path / "bundle")))


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (255, 90, 0)).save(path)
    return [Photo(path, path.name, "red")] * 5


@pytest.fixture(params=BROKEN_GRAPHS)
def broken(version: Version, request: pytest.FixtureRequest) -> tuple[Version, str]:
    """A bundle whose graph was replaced after it was loaded, and the reason why it fails."""
    session = create_session(BROKEN_GRAPHS[request.param], 1, avoid_saturation=False)
    return replace(version, predictor=replace(version.predictor, session=session)), request.param


def test_failures_of_the_candidate_are_disagreements(
    version: Version, broken: tuple[Version, str], photos: list[Photo]
) -> None:
    candidate, reason = broken
    measured = measure(version, candidate, photos, Rules())
    assert (measured.counts.compared, measured.counts.failed, measured.counts.agreed) == (5, 5, 0)
    assert (measured.decision.state, measured.decided_after) == (State.WORSE, 3)
    assert len(measured.failures) == 5
    assert all(found.startswith(reason) for _, found in measured.failures)


def test_images_on_which_the_active_bundle_fails_are_not_compared(
    version: Version, broken: tuple[Version, str], photos: list[Photo]
) -> None:
    active, reason = broken
    measured = measure(active, version, photos, Rules())
    assert measured.counts.compared == 0
    assert measured.broken == [(photos[0].name, found) for _, found in measured.broken]
    assert all(reason in found for _, found in measured.broken)
    assert len(measured.broken) == 5
