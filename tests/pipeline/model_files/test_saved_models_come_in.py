"""SavedModel folders: converted from their signature, and refused where that does not classify images."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelFileInvalid, ModelFileUnknown, NetworkUnsuitable
from pipeline.model_files.model_file import Head
from pipeline.model_files.opening import open_model_file
from pipeline.network.backend import keras, saved_model_pb2, tf
from tests.pipeline.model_files.agreement import check_agreement, pixels

layers = keras.layers


def exported(folder: Path, *network: keras.Layer, size: tuple[int | None, ...] = (24, 20, 3)) -> Path:
    """A folder as Keras 3's `model.export` writes it."""
    keras.Sequential([layers.Input(size), *network]).export(folder / "model", verbose=False)
    return folder / "model"


def body(columns: int, activation: str | None) -> list[keras.Layer]:
    kernel = keras.initializers.RandomNormal(stddev=0.3, seed=1)
    return [
        layers.Rescaling(1 / 255),
        layers.Conv2D(6, 3, activation="relu", kernel_initializer=kernel),
        layers.BatchNormalization(moving_mean_initializer="ones"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(columns, activation=activation, kernel_initializer=kernel),
    ]


@pytest.mark.parametrize(
    ("columns", "activation", "head", "size"),
    [
        (4, "softmax", "softmax", (24, 20, 3)),
        (4, None, "logits", (24, 20, 1)),
        (1, "sigmoid", "sigmoid", (24, 20, 3)),
        (1, None, "logit", (None, None, 3)),
    ],
)
def test_an_exported_network(
    tmp_path: Path, columns: int, activation: str | None, head: Head, size: tuple[int | None, ...]
) -> None:
    network = body(columns, activation)
    file = open_model_file(exported(tmp_path, *network, size=size))
    found = file.description
    assert (found.format, found.height, found.width, found.channels) == ("SavedModel", *size)
    assert (found.outputs, found.head, found.scaling) == (columns, head, None)
    images = pixels(found)
    expected = keras.Sequential([layers.Input(size), *network]).predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-5
    check_agreement(file, expected, images)
    assert file.to_keras(24, 20) is None


def test_a_multi_label_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkUnsuitable, match="4 sigmoids"):
        open_model_file(exported(tmp_path, *body(4, "sigmoid")))


@pytest.mark.parametrize(
    ("first", "message"),
    [(layers.Resizing(24, 20), "depends on the other images"), (layers.RandomFlip(), "draws random numbers")],
)
def test_an_export_in_training_mode_is_refused(tmp_path: Path, first: keras.Layer, message: str) -> None:
    """A fault of Keras 3.15: the default argument of the first layer puts BatchNorm into training mode."""
    with pytest.raises(NetworkUnsuitable, match=f"{message}.*training mode"):
        open_model_file(exported(tmp_path, first, *body(4, "softmax")))


def saved(
    folder: Path,
    function: Callable[..., Any],
    *specifications: tf.TensorSpec,
    key: str = "serving_default",
) -> Path:
    """A folder with one function of TensorFlow."""
    module = tf.Module()
    module.serve = tf.function(function, input_signature=list(specifications))
    tf.saved_model.save(module, str(folder / "model"), {key: module.serve})
    return folder / "model"


IMAGE = tf.TensorSpec([None, 8, 8, 3])


@pytest.mark.parametrize(
    ("function", "specifications", "message"),
    [
        (lambda a, b: tf.reduce_mean(a + b, [1, 2]), [IMAGE, IMAGE], "2 inputs"),
        (lambda a: {"x": tf.reduce_mean(a, [1, 2]), "y": a}, [IMAGE], "2 outputs"),
        (lambda a: tf.reduce_mean(a, [1, 2]), [tf.TensorSpec([4, 8, 8, 3])], "batches of 4 only"),
        (lambda a: tf.reduce_mean(a, [2, 3]), [tf.TensorSpec([None, 3, 8, 8])], "channels last"),
        (lambda a: a * 2, [IMAGE], r"should be \[N, classes\]"),
    ],
)
def test_what_is_no_classifier(
    tmp_path: Path, function: Callable[..., Any], specifications: list[Any], message: str
) -> None:
    with pytest.raises(NetworkUnsuitable, match=message):
        open_model_file(saved(tmp_path, function, *specifications))


def test_another_signature_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda a: tf.reduce_mean(a, [1, 2]), IMAGE, key="train")
    with pytest.raises(NetworkUnsuitable, match=r"no signature serving_default \(but: train\)"):
        open_model_file(path)


def test_damaged_folders(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda a: tf.reduce_mean(a, [1, 2]), IMAGE)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ModelFileInvalid, match=r"notes\.txt is not part of a SavedModel"):
        open_model_file(path)
    (path / "notes.txt").unlink()
    graph = path / "saved_model.pb"
    document = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    document.meta_graphs[0].ClearField("object_graph_def")
    graph.write_bytes(document.SerializeToString())
    with pytest.raises(ModelFileInvalid, match="the form of TensorFlow 1"):
        open_model_file(path)
    graph.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelFileInvalid, match="damaged"):
        open_model_file(path)
    graph.unlink()
    with pytest.raises(ModelFileUnknown, match=r"folder without saved_model\.pb"):
        open_model_file(path)


def test_missing_variables(tmp_path: Path) -> None:
    path = exported(tmp_path, *body(2, "softmax"))
    shutil.rmtree(path / "variables")
    with pytest.raises(ModelFileInvalid, match="does not load it"):
        open_model_file(path)
