"""Training, calibration, agreement and drawings with inputs that are flat or grey."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.batch_prediction import predict_folder
from pipeline.evaluation.example_grid import Example, draw_grid
from pipeline.evaluation.keras_agreement import measure_agreement
from pipeline.network.backend import keras
from pipeline.network.training import Batches, load_dataset
from pipeline.onnx import keras_to_onnx
from pipeline.onnx.calibration_images import load_calibration_images
from pipeline.params import Augment
from serving.artifact.files import to_json
from serving.artifact.manifest import GRAPH, LABELS
from serving.model.decoder import decode
from serving.model.predictor import Predictor
from serving.model.preprocessing import Preprocessing
from tests.pipeline.sample_images import COLOURS, write_class_folders
from tests.serving.bundles import write_bundle

GREY = Preprocessing(20, 28, 1, "pad", 1.0, "bilinear", antialias=False)
FLAT = Preprocessing(12, 32, 3, "squash", 1.0, "lanczos")
NAMES = sorted(COLOURS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders for training and test."""
    folder = tmp_path_factory.mktemp("prepared")
    for split in ("train", "test"):
        write_class_folders(folder / split, images=4)
    return folder


@pytest.mark.parametrize("preprocessing", [GREY, FLAT], ids=["grey", "flat"])
def test_images_are_loaded_and_augmented(
    prepared: Path, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    dataset = load_dataset(prepared / "train", NAMES, preprocessing, tmp_path / "train.npy")
    assert dataset.pixels.shape == (12, *preprocessing.shape)
    first = sorted((prepared / "train").rglob("*.*"))[0]
    assert np.array_equal(dataset.pixels[0], decode(first.read_bytes(), preprocessing))
    batches = Batches(dataset, 5, Augment(shift=0.2, flip=True), seed=1)
    assert [batches[index][0].shape for index in range(3)] == [
        (count, *preprocessing.shape) for count in (5, 5, 2)
    ]
    still = Batches(dataset, 12, Augment(shift=0.0, flip=False), seed=1)
    assert np.array_equal(still[0][0], dataset.pixels)
    assert load_calibration_images(prepared, 3, preprocessing).shape == (3, *preprocessing.shape)


def small_network(shape: tuple[int, int, int]) -> Any:  # noqa: ANN401  (Keras's)
    """A network whose answer depends on where in the image the light is."""
    keras.utils.set_random_seed(3)
    image = keras.Input(shape, dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    features = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(scaled)
    return keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(features)))


@pytest.mark.parametrize("preprocessing", [GREY, FLAT], ids=["grey", "flat"])
def test_keras_and_onnx_agree(prepared: Path, preprocessing: Preprocessing, tmp_path: Path) -> None:
    network = small_network(preprocessing.shape)
    network.save(tmp_path / "model.keras")
    bundle = write_bundle(
        tmp_path / "bundle",
        extra={
            GRAPH: keras_to_onnx.to_bytes(network),
            LABELS: to_json([{"id": name, "name": name} for name in NAMES]),
        },
        preprocessing=preprocessing,
        trusted=False,
    )
    predictor = Predictor.open(bundle)
    agreed = measure_agreement(
        predictor, tmp_path / "model.keras", predict_folder(predictor, prepared / "test")
    )
    assert (agreed.predict, agreed.eager) == (1.0, 1.0)
    assert agreed.max_difference < 1e-5


def test_a_grey_image_is_drawn_grey(tmp_path: Path) -> None:
    pixels = np.linspace(0, 255, 20 * 28).astype(np.uint8).reshape(20, 28, 1)
    draw_grid(tmp_path / "grey.png", "", [Example(pixels, "cat", "cat", 0.9)] * 8, [])
    drawn = np.asarray(Image.open(tmp_path / "grey.png").convert("RGB")).astype(int)
    # The captions are green; everything else has no colour.
    left, right = drawn[..., 0], drawn[..., 2]
    coloured = np.abs(left - right) > 30
    assert coloured.mean() < 0.02
    assert len(np.unique(drawn[~coloured])) > 200
