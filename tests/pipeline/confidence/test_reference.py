"""The reference has histograms of the validation images, which the server fills with the same functions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.confidence.measurement import Outputs, measure_confidence
from pipeline.confidence.reference import SIZES, measure_reference
from serving.artifact.bundle import Label
from serving.artifact.confidence import Confidence
from serving.model.decoder import MAX_PIXELS_SCALED, MIN_SIDE
from serving.model.preprocessing import Preprocessing
from tests.serving.bundles import COLOURS, onnx_graph
from tests.serving.images import encode_image


def test_what_is_counted() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.97, 0.03]])
    found = measure_reference(
        probabilities, None, np.array([0.0, 0.31, 1.0]), np.array([8.0, 640.0, 12000.0])
    )
    assert (found.classes, found.images, found.energy) == ((2, 1), 3, None)
    assert found.brightness is not None
    assert [number for number, count in enumerate(found.brightness.counts) if count] == [0, 6, 19]
    assert found.size is not None
    occupied = [number for number, count in enumerate(found.size.counts) if count]
    assert [found.size.edges[number] for number in occupied] == [8, 512, 11585.2]


def test_every_image_that_is_accepted_has_a_size() -> None:
    assert SIZES[0] == MIN_SIDE
    assert SIZES[-1] ** 2 > MAX_PIXELS_SCALED
    assert (np.diff(SIZES) > 0).all()
    # Decimal numbers that every JSON parser and CPU reads alike.
    assert [float(f"{edge:.1f}") for edge in SIZES] == SIZES.tolist()
    assert SIZES[1:] / SIZES[:-1] == pytest.approx(np.full(22, 2**0.5), rel=0.005)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with images of one colour each, of different sizes."""
    for number, rgb in enumerate(COLOURS.values()):
        folder = tmp_path / f"c{number}"
        folder.mkdir()
        for side in (12, 100):
            data = encode_image(Image.new("RGB", (side, 2 * side), rgb), "PNG")
            (folder / f"{side}.png").write_bytes(data)
    return tmp_path


def test_validation_images_are_measured_as_the_server_does(photos: Path) -> None:
    labels = tuple(Label(f"c{number}", name) for number, name in enumerate(COLOURS))
    outputs = Outputs.of_folder(onnx_graph(), photos, labels, Preprocessing.square(8, crop=1.0))
    assert outputs is not None
    assert sorted(outputs.sizes) == pytest.approx([288**0.5] * 3 + [20000**0.5] * 3)
    assert outputs.brightness == pytest.approx([1 / 3] * 6)
    document = json.loads(json.dumps(measure_confidence(onnx_graph(), outputs).to_json()))
    reference = Confidence.from_json(document, 3).reference
    assert reference is not None
    assert reference.classes == (2, 2, 2)
    assert reference.size is not None
    assert sum(count > 0 for count in reference.size.counts) == 2
