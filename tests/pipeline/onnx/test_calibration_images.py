"""8-bit graphs are calibrated with validation images, then training images, never test images."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CalibrationImagesMissing
from pipeline.onnx.calibration_images import load_calibration_images
from serving.model.decoder import Preprocessing, decode
from tests.pipeline.sample_images import COLOURS, draw_image, write_class_folders

PREPROCESSING = Preprocessing.square(32, crop=1.0)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Prepared images of each class: two for validation, four for training, three for test."""
    for split, images in (("valid", 2), ("train", 4), ("test", 3)):
        write_class_folders(tmp_path / split, images=images)
    return tmp_path


def selected(prepared: Path, wanted: int) -> Counter[str]:
    """How many images of each `<split>/<class>` are selected."""
    chosen = {image.tobytes() for image in load_calibration_images(prepared, wanted, PREPROCESSING)}
    return Counter(
        path.parent.relative_to(prepared).as_posix()
        for path in prepared.rglob("*.*")
        if decode(path.read_bytes(), PREPROCESSING).tobytes() in chosen
    )


def test_classes_take_turns(prepared: Path) -> None:
    shutil.rmtree(prepared / "train")
    shutil.rmtree(prepared / "test")
    assert selected(prepared, 3) == {f"valid/{colour}": 1 for colour in COLOURS}
    assert sorted(selected(prepared, 4).values()) == [1, 1, 2]


@pytest.mark.parametrize(("wanted", "from_training"), [(6, 0), (9, 3), (18, 12), (1000, 12)])
def test_training_images_fill_up(prepared: Path, wanted: int, from_training: int) -> None:
    shutil.rmtree(prepared / "test")
    for number, path in enumerate(sorted((prepared / "train").rglob("*.*"))):
        # Replaces the images, which would otherwise be equal to the validation images.
        draw_image(path, path.parent.name, seed=9000 + number)
    found = selected(prepared, wanted)
    assert sum(count for place, count in found.items() if place.startswith("valid")) == 6
    assert sum(count for place, count in found.items() if place.startswith("train")) == from_training


def test_test_images_change_nothing(prepared: Path) -> None:
    before = load_calibration_images(prepared, 1000, PREPROCESSING)
    assert len(before) == 18
    shutil.rmtree(prepared / "test")
    np.testing.assert_array_equal(load_calibration_images(prepared, 1000, PREPROCESSING), before)


def test_names_change_nothing(prepared: Path) -> None:
    before = load_calibration_images(prepared, 4, PREPROCESSING)
    for number, path in enumerate(sorted((prepared / "valid").rglob("*.*"), reverse=True)):
        path.rename(path.with_stem(f"renamed{number}"))
    assert sorted(map(np.ndarray.tobytes, load_calibration_images(prepared, 4, PREPROCESSING))) == sorted(
        map(np.ndarray.tobytes, before)
    )


def test_without_images_the_error_tells_two_ways_out(prepared: Path) -> None:
    shutil.rmtree(prepared / "valid")
    shutil.rmtree(prepared / "train")
    with pytest.raises(
        CalibrationImagesMissing, match=r"give prepare\.valid a share .*, or set export\.precision to float32"
    ):
        load_calibration_images(prepared, 64, PREPROCESSING)
