"""Files of Keras 2 give what tf_keras answered: HDF5, `.keras`, weights alone, and declared code."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import (
    ArchitectureUnclear,
    CustomClassesMissing,
    CustomCodeInvalid,
    ModelFileInvalid,
    NetworkUnsuitable,
)
from pipeline.model_files.model_file import Head
from pipeline.model_files.opening import open_model_file
from pipeline.network.backend import keras
from tests.pipeline.model_files import recorded
from tests.pipeline.model_files.agreement import check_agreement, scaled

layers = keras.layers


HEADS: dict[str, tuple[Head, tuple[float, float] | None]] = {
    "tutorial": ("logits", (1 / 255, 0.0)),
    "expressions_tf": ("sigmoid", (1 / 127.5, -1.0)),
    "expressions_torch": ("sigmoid", (1 / 255 / 0.229, -0.485 / 0.229)),
    "expressions_caffe": ("sigmoid", None),
    "functions": ("softmax", (-1 / 255, 1.0)),
    "mixed_precision": ("softmax", (1 / 255, 0.0)),
    "frozen_base": ("softmax", (0.5, -0.5)),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    # Keras 2 cannot save `...`, which is in the expression of caffe, as a `.keras` file.
    [
        (name, kind)
        for name in HEADS
        for kind in ("h5", "keras")
        if (name, kind) != ("expressions_caffe", "keras")
    ],
)
def test_a_file_of_keras_2(tmp_path: Path, name: str, kind: str) -> None:
    head, scale = HEADS[name]
    record = recorded.load(f"{name}_{kind}")
    file = open_model_file(recorded.rebuild(record, tmp_path))
    found = file.description
    assert (found.framework, found.head) == ("Keras 2.15.0", head)
    assert (found.height, found.width, found.channels) == tuple(record["shape"])
    scaling = found.scaling
    assert (scaling and (scaling.factor[0], scaling.offset[0])) == (scale and pytest.approx(scale))
    images = recorded.images(record["shape"], record["highest"])
    expected = np.array(record["outputs"], np.float32)
    # Different images get different answers, so that an agreement means something.
    assert np.ptp(expected, axis=0).max() > 1e-3
    tolerance = 0.02 if name == "mixed_precision" else 2e-5
    outputs = file.predict(scaled(images, found))
    assert np.abs(outputs - expected).max() <= tolerance
    check_agreement(file, outputs, images)


def test_teachable_machine(tmp_path: Path) -> None:
    """Its files have an argument that no Keras 3 accepts, and labels with numbers."""
    record = recorded.load("teachable_machine_h5")
    file = open_model_file(recorded.rebuild(record, tmp_path))
    found = file.description
    assert (found.height, found.width, found.outputs, found.head) == (224, 224, 2, "softmax")
    assert found.scaling is None
    images = recorded.images(record["shape"], record["highest"])
    expected = np.array(record["outputs"], np.float32)
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert np.abs(file.predict(images) - expected).max() < 1e-5


@pytest.mark.slow  # converts a MobileNetV2; the conversion of smaller files is tested above
def test_teachable_machine_is_converted(tmp_path: Path) -> None:
    record = recorded.load("teachable_machine_h5")
    file = open_model_file(recorded.rebuild(record, tmp_path))
    images = recorded.images(record["shape"], record["highest"])
    check_agreement(file, np.array(record["outputs"], np.float32), images)


def test_the_form_of_2018(tmp_path: Path) -> None:
    """Before Keras 2.2.3 a Sequential model was the list of its layers, and its input an argument."""
    record = recorded.load("tutorial_h5")
    old = record["config"]["config"]["layers"][2:]
    old[0]["config"]["batch_input_shape"] = [None, 24, 20, 3]
    for layer in old:
        for value in layer["config"].values():
            if isinstance(value, dict) and "class_name" in value:
                value.pop("module"), value.pop("registered_name")
                value["config"]["dtype"] = "float32"
    record["config"] = {"class_name": "Sequential", "config": old}
    record["version"] = "2.2.2"
    file = open_model_file(recorded.rebuild(record, tmp_path))
    images = recorded.images(record["shape"], record["highest"])
    check_agreement(file, np.array(record["outputs"], np.float32), images)


def test_what_keras_3_computes_differently_is_refused(tmp_path: Path) -> None:
    record = recorded.load("tutorial_h5")
    record["config"]["config"]["layers"][3]["config"]["activation"] = "hard_sigmoid"
    with pytest.raises(
        NetworkUnsuitable, match="hard_sigmoid, which Keras 2 and Keras 3 compute differently"
    ):
        open_model_file(recorded.rebuild(record, tmp_path))


def test_an_unknown_function_of_tensorflow_is_refused(tmp_path: Path) -> None:
    record = recorded.load("functions_h5")
    for layer in record["config"]["config"]["layers"]:
        if layer["class_name"] == "TFOpLambda":
            layer["config"]["function"] = "io.write_file"
    with pytest.raises(NetworkUnsuitable, match=r"io.write_file.*SavedModel"):
        open_model_file(recorded.rebuild(record, tmp_path))


def test_missing_and_wrong_weights_are_named(tmp_path: Path) -> None:
    record = recorded.load("tutorial_h5")
    path = recorded.rebuild(record, tmp_path)
    images = recorded.images(record["shape"], 1)
    with h5py.File(path, "r+") as file:
        name = next(name for name, weights in record["weights"] if len(weights) == 2)
        kernel = file["model_weights"][name].attrs["weight_names"][0].decode()
        del file["model_weights"][name][kernel]
        file["model_weights"][name][kernel] = np.zeros((1, 2), np.float32)
    with pytest.raises(ModelFileInvalid, match=r"has the shape \[1, 2\]"):
        open_model_file(path).predict(images)
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["layer_names"] = np.array([b"other"])
    with pytest.raises(ModelFileInvalid, match="no weights for layer"):
        open_model_file(path).predict(images)


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    """The smallest network of keras.applications that has two dense layers or none in it."""
    return keras.applications.MobileNetV2(weights=None, classes=3)


def test_weights_alone_need_the_name_of_the_network(tmp_path: Path, mobilenet: keras.Model) -> None:
    mobilenet.save_weights(tmp_path / "mine.weights.h5")
    images = recorded.images([224, 224, 3], 1)
    expected = mobilenet.predict(images, verbose=0)
    file = open_model_file(tmp_path / "mine.weights.h5", architecture="MobileNetV2")
    assert (file.description.outputs, file.description.head) == (3, "softmax")
    assert np.array_equal(file.predict(images), expected)
    for architecture, message in ((None, "no architecture is named"), ("AlexNet", "there is no 'AlexNet'")):
        with pytest.raises(ArchitectureUnclear, match=message):
            open_model_file(tmp_path / "mine.weights.h5", architecture=architecture)
    with pytest.raises(ArchitectureUnclear, match="do not fit MobileNet with 3 classes"):
        open_model_file(tmp_path / "mine.weights.h5", architecture="MobileNet").predict(images)


CODE = """
import keras

@keras.saving.register_keras_serializable(package="mine")
class Scale(keras.layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return super().get_config() | {"factor": self.factor}

class Network(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.scale = keras.layers.Conv2D(4, 3, strides=2), Scale(3.0)
        self.dropout, self.last = keras.layers.Dropout(0.5), keras.layers.Dense(3)

    def call(self, inputs, training=None):
        values = keras.ops.mean(self.scale(self.first(inputs)), axis=[1, 2])
        return keras.ops.softmax(self.last(self.dropout(values, training=training)))
"""


def test_a_model_of_declared_code(tmp_path: Path) -> None:
    code = tmp_path / "layers.py"
    code.write_text(CODE)
    namespace: dict[str, Any] = {"__name__": "somewhere"}
    exec(compile(CODE, "somewhere", "exec"), namespace)  # noqa: S102  (the user's session)
    try:
        model = namespace["Network"]()
        images = recorded.images([24, 20, 3], 1)
        expected = model.predict(images, verbose=0)
        model.save(tmp_path / "model.keras")
    finally:
        keras.saving.get_custom_objects().clear()
    with pytest.raises(CustomClassesMissing, match="Network"):
        open_model_file(tmp_path / "model.keras")
    file = open_model_file(tmp_path / "model.keras", code=code)
    assert (file.description.height, file.description.width, file.description.outputs) == (24, 20, 3)
    assert (file.description.head, file.to_keras(24, 20)) == (None, None)
    check_agreement(file, expected, images)
    assert not keras.saving.get_custom_objects()
    code.write_text("import nothing_of_this_name")
    with pytest.raises(CustomCodeInvalid, match="ModuleNotFoundError"):
        open_model_file(tmp_path / "model.keras", code=code)
    code.write_text("x = 1")
    with pytest.raises(CustomClassesMissing, match=r"layers\.py does not define"):
        open_model_file(tmp_path / "model.keras", code=code)
