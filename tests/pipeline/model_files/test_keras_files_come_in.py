"""Keras 3 files: described, stripped of preprocessing, and the same answers from Keras and ONNX."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import NetworkUnsuitable
from pipeline.model_files.model_file import ResizeLayer, Scaling
from pipeline.network.backend import keras
from tests.pipeline.model_files.agreement import check_agreement, pixels, saved, scaled

layers = keras.layers


def trained(model: keras.Model) -> keras.Model:
    """The model with BatchNorm statistics that differ from those of a batch."""
    generator = np.random.default_rng(2)
    for weight in model.weights:
        if "moving" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif "kernel" in weight.path:
            weight.assign(generator.normal(0, 0.3, weight.shape))
    return model


def body(columns: int, activation: str | None = None) -> list[keras.Layer]:
    """Layers of a small classifier."""
    return [
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.GlobalAveragePooling2D(),
        layers.Dense(columns, activation=activation),
    ]


def test_the_standard_tutorial_classifier(tmp_path: Path) -> None:
    """Augmentation in a model of its own, Rescaling, and logits."""
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1)])
    model = trained(
        keras.Sequential([layers.Input((24, 20, 3)), augmentation, layers.Rescaling(1 / 255), *body(5)])
    )
    file = saved(model, tmp_path)
    found = file.description
    assert (found.format, found.framework) == ("Keras 3 file", f"Keras {keras.__version__}")
    assert (found.height, found.width, found.channels, found.outputs) == (24, 20, 3, 5)
    assert (found.head, found.resize) == ("logits", None)
    assert found.scaling == Scaling((1 / 255,) * 3, (0.0,) * 3)
    assert len([note for note in found.notes if "left out" in note]) == 3
    images = pixels(found)
    check_agreement(file, model.predict(images, verbose=0), images)


def test_two_classes_with_one_sigmoid_and_any_size(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    value = layers.RandomFlip()(image)
    value = keras.applications.densenet.preprocess_input(value)
    model = trained(keras.Model(image, keras.Sequential(body(1, "sigmoid"))(value)))
    file = saved(model, tmp_path)
    found = file.description
    assert (found.height, found.width, found.outputs, found.head) == (None, None, 1, "sigmoid")
    assert found.scaling is not None
    assert np.allclose(found.scaling.factor, 1 / 255 / np.array([0.229, 0.224, 0.225]))
    assert np.allclose(found.scaling.offset, -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    images = pixels(found)
    check_agreement(file, model.predict(images, verbose=0), images)


def test_a_grey_network_with_adapted_normalization(tmp_path: Path) -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(3).uniform(0, 255, (4, 28, 28, 1)))
    image = keras.Input((28, 28, 1))
    value = layers.Flatten()(normalization(image))
    model = keras.Model(image, layers.Softmax()(layers.Dense(10)(value)))
    file = saved(model, tmp_path)
    found = file.description
    assert (found.height, found.width, found.channels, found.head) == (28, 28, 1, "softmax")
    assert found.scaling is not None
    images = pixels(found)
    check_agreement(file, model.predict(images, verbose=0), images)


@pytest.mark.parametrize(
    ("arguments", "resize"),
    [
        ({"interpolation": "lanczos3"}, ("squash", "lanczos", False)),
        ({"crop_to_aspect_ratio": True, "antialias": True}, ("crop", "bilinear", True)),
        ({"pad_to_aspect_ratio": True, "interpolation": "bicubic"}, ("pad", "bicubic", False)),
    ],
)
def test_a_resizing_layer_is_described(
    tmp_path: Path, arguments: dict[str, object], resize: tuple[str, str, bool]
) -> None:
    start = keras.Sequential([layers.Resizing(24, 20, **arguments), layers.Rescaling(1 / 127.5, -1)])
    model = trained(keras.Sequential([layers.Input((None, None, 3)), start, *body(3, "softmax")]))
    file = saved(model, tmp_path)
    assert file.description.resize == ResizeLayer(24, 20, *resize)  # type: ignore[arg-type]
    assert (file.description.height, file.description.width) == (24, 20)
    # Of the right size already, Resizing changes nothing.
    images = pixels(file.description)
    check_agreement(file, model.predict(images, verbose=0), images)


def test_preprocessing_that_is_not_one_scale_stays_inside(tmp_path: Path) -> None:
    """ResNet's `preprocess_input` changes the order of channels."""
    image = keras.Input((24, 20, 3))
    value = keras.applications.resnet50.preprocess_input(image)
    for layer in body(3, "softmax"):
        value = layer(value)
    model = trained(keras.Model(image, value))
    file = saved(model, tmp_path)
    assert file.description.scaling is None
    assert "it begins with GetItem" in file.description.notes[0]
    images = pixels(file.description)
    check_agreement(file, model.predict(images, verbose=0), images)


def test_a_base_network_keeps_its_own_scaling(tmp_path: Path) -> None:
    inner = keras.Input((24, 20, 3))
    base = keras.Model(inner, layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(inner)), name="base")
    image = keras.Input((24, 20, 3))
    value = layers.GlobalAveragePooling2D()(base(layers.RandomFlip()(image), training=False))
    model = trained(keras.Model(image, layers.Dense(3, activation="softmax")(value)))
    file = saved(model, tmp_path)
    assert file.description.scaling is None
    assert "Rescaling 'rescaling" in file.description.notes[-1]
    assert "of 'base'" in file.description.notes[-1]
    images = pixels(file.description)
    check_agreement(file, model.predict(images, verbose=0), images)


def test_a_probability_model_around_a_trained_one(tmp_path: Path) -> None:
    """Keras's tutorials add the softmax afterwards; the leading layers are two models deep."""
    start = keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(4, 3)])
    image = keras.Input((24, 20, 3))
    value = start(image)
    for layer in body(3):
        value = layer(value)
    model = trained(keras.Sequential([keras.Model(image, value), layers.Softmax()]))
    file = saved(model, tmp_path)
    # The trained model is Functional: it is left whole.
    assert (file.description.scaling, file.description.head) == (None, "softmax")
    images = pixels(file.description)
    check_agreement(file, model.predict(images, verbose=0), images)
    file = saved(trained(keras.Model(image, layers.Softmax()(value))), tmp_path)
    assert file.description.scaling == Scaling((1 / 127.5,) * 3, (-1.0,) * 3)
    assert not any("by itself" in note for note in file.description.notes)


def with_policy(policy: str) -> keras.Model:
    """A classifier whose layers have this dtype policy."""
    keras.config.set_dtype_policy(policy)
    try:
        return keras.Sequential(
            [layers.Input((24, 20, 3)), layers.Rescaling(1 / 255), *body(3), layers.Activation("softmax")]
        )
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_mixed_precision_is_computed_in_float32(tmp_path: Path, policy: str) -> None:
    model = trained(with_policy(policy))
    file = saved(model, tmp_path)
    assert any(policy in note and "float32" in note for note in file.description.notes)
    assert file.description.head == "softmax"
    images = pixels(file.description)
    # The same weights in float64: not every CPU has TensorFlow's kernels for half precision, which has three
    # digits.
    reference = with_policy("float64")
    reference.set_weights(model.get_weights())
    expected = np.asarray(reference.predict(images, verbose=0), np.float32)
    outputs = file.predict(scaled(images, file.description))
    assert np.abs(outputs - expected).max() < 0.02
    check_agreement(file, outputs, images)


def test_another_size_than_the_fixed_one_is_refused(tmp_path: Path) -> None:
    file = saved(keras.Sequential([layers.Input((24, 20, 3)), *body(3)]), tmp_path)
    with pytest.raises(NetworkUnsuitable, match="24 x 20 pixels, not 20 x 24"):
        file.to_onnx(20, 24)


def test_several_inputs_or_outputs_are_listed(tmp_path: Path) -> None:
    first, second = keras.Input((8, 8, 3), name="photo"), keras.Input((8, 8, 3), name="mask")
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([first, second]))
    with pytest.raises(NetworkUnsuitable, match=r"2 inputs \(photo .*mask"):
        saved(keras.Model([first, second], layers.Dense(2)(pooled)), tmp_path)
    pooled = layers.GlobalAveragePooling2D()(first)
    with pytest.raises(NetworkUnsuitable, match="2 outputs"):
        saved(keras.Model(first, [layers.Dense(2)(pooled), layers.Dense(3)(pooled)]), tmp_path)


@pytest.mark.parametrize(
    ("shape", "head", "message"),
    [
        ((8, 8, 4), layers.Dense(3, activation="softmax"), "4 channels"),
        ((3, 224, 224), layers.Dense(3, activation="softmax"), "channels before height and width"),
        ((8, 8, 3), layers.Dense(3, activation="sigmoid"), "multi-label"),
        ((8, 8, 3), layers.Dense(1, activation="softmax"), "1 for every image"),
    ],
)
def test_what_is_no_classifier_of_images(
    tmp_path: Path, shape: tuple[int, int, int], head: keras.Layer, message: str
) -> None:
    with pytest.raises(NetworkUnsuitable, match=message):
        saved(keras.Sequential([layers.Input(shape), layers.GlobalAveragePooling2D(), head]), tmp_path)
