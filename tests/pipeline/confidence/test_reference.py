"""The reference has histograms of the validation images, which the server fills with the same functions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.confidence.measurement import ValidationImages, measure_confidence
from pipeline.confidence.reference import SIZES, measure_reference
from serving.artifact.bundle import Label
from serving.artifact.confidence import Confidence
from serving.model.decoder import MAX_PIXELS_SCALED, MIN_SIDE, decode
from serving.model.predictor import create_session
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
    images = ValidationImages(photos, labels, Preprocessing.square(8, crop=1.0))
    measured = measure_confidence(onnx_graph(), images)
    assert measured is not None
    document = json.loads(json.dumps(measured.confidence.to_json()))
    reference = Confidence.from_json(document, 3).reference
    assert reference is not None
    assert reference.classes == (2, 2, 2)
    assert reference.size is not None
    occupied = [
        edge for edge, count in zip(reference.size.edges, reference.size.counts, strict=False) if count
    ]
    assert occupied == [16, 128]
    assert reference.brightness is not None
    assert reference.brightness.counts[6] == 6


def test_without_validation_images_nothing_is_measured(tmp_path: Path) -> None:
    images = ValidationImages(tmp_path, (), Preprocessing.square(8, crop=1.0))
    assert measure_confidence(onnx_graph(), images) is None


@pytest.mark.parametrize("count", [19, 20])
def test_the_served_graph_gives_the_energies_that_were_measured(tmp_path: Path, count: int) -> None:
    (tmp_path / "c0").mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (tmp_path / f"c0/{number}.png").write_bytes(encode_image(Image.fromarray(pixels), "PNG"))
    images = ValidationImages(tmp_path, (Label("c0", "red"),), Preprocessing.square(8, crop=1.0))
    measured = measure_confidence(onnx_graph(), images)
    assert measured is not None
    energy, reference = measured.confidence.energy, measured.confidence.reference
    if count < 20:
        assert energy is None
        return
    assert energy is not None
    assert energy.clip is not None
    assert reference is not None
    assert reference.energy is not None
    session = create_session(measured.graph, 1, avoid_saturation=False)
    pixels = np.stack([decode(path.read_bytes(), images.preprocessing) for path in images.paths])
    energies = session.run(["energy"], {"image": pixels})[0]
    assert (energies < energy.threshold).sum() == round(energy.share * count) == 1
    assert reference.energy.edges[0] <= energies.min() <= energies.max() <= reference.energy.edges[-1]
