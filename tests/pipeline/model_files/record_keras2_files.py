"""Makes the records in `fixtures/` with tf_keras, the continuation of Keras 2.

It needs an environment of its own, in the root of the repository:
`pip install tf_keras h5py && python -m tests.pipeline.model_files.record_keras2_files`
"""

import gzip
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.pipeline.model_files.recorded import FIXTURES, images, rebuild


def record(name: str, model: Any, shape: list[int], highest: float, kind: str) -> None:  # noqa: ANN401
    """Saves the model, replaces its weights, and records what tf_keras answers with these."""
    import tf_keras  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"saved.{kind}"
        model.save(path)
        found = read_h5(path) if kind == "h5" else read_keras(path)
        # Sizes and version of the files that people have.
        document = found | {"kind": kind, "shape": shape, "highest": highest, "version": "2.15.0"}
        rebuilt = rebuild(document, Path(folder))
        loaded = tf_keras.models.load_model(rebuilt, compile=False)
        document["outputs"] = np.asarray(loaded.predict(images(shape, highest), verbose=0), float).tolist()
    data = gzip.compress(json.dumps(document).encode(), mtime=0)
    (FIXTURES / f"{name}.json.gz").write_bytes(data)
    print(f"{name}: {len(data):,} bytes, answers {np.array(document['outputs']).round(3).tolist()}")


def read_h5(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        root = file["model_weights"]
        weights = [
            [
                layer,
                [
                    [name, shape_of(root[layer][name])]
                    for name in map(str, names(root[layer], "weight_names"))
                ],
            ]
            for layer in names(root, "layer_names")
        ]
        return {"config": json.loads(file.attrs["model_config"]), "weights": weights}


def names(group: h5py.Group, key: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[key]]


def shape_of(dataset: h5py.Dataset) -> list[int] | None:
    """None for a counter, which is a whole number."""
    return list(dataset.shape) if dataset.dtype.kind == "f" else None


def read_keras(path: Path) -> dict[str, Any]:
    groups: list[str] = []
    weights: list[Any] = []

    def note(name: str, member: object) -> None:
        if isinstance(member, h5py.Group):
            groups.append(name)
        else:
            weights.append([name, shape_of(member)])

    with (
        zipfile.ZipFile(path) as archive,
        archive.open("model.weights.h5") as opened,
        h5py.File(opened) as file,
    ):
        file.visititems(note)
        config = json.loads(archive.read("config.json"))
    return {"config": as_keras_2_15(config), "groups": groups, "weights": weights}


def as_keras_2_15(node: Any) -> Any:  # noqa: ANN401
    """Keras 2.15 was in a package of another name."""
    if isinstance(node, list):
        return [as_keras_2_15(item) for item in node]
    if isinstance(node, dict):
        return {key: as_keras_2_15(value) for key, value in node.items()}
    return node.replace("tf_keras.src", "keras.src") if isinstance(node, str) else node


def teachable_machine() -> Any:  # noqa: ANN401
    """As Teachable Machine nests its models; its images are between -1 and 1."""
    from tf_keras import Sequential, applications, layers

    base = applications.MobileNetV2(input_shape=(224, 224, 3), alpha=0.35, include_top=False, weights=None)
    features = Sequential(
        [base, layers.GlobalAveragePooling2D(name="global_average_pooling2d_GlobalAveragePooling2D1")]
    )
    head = Sequential(
        [
            layers.Dense(100, activation="relu", input_shape=(1280,), name="dense_Dense1"),
            layers.Dense(2, use_bias=False, activation="softmax", name="dense_Dense2"),
        ]
    )
    return Sequential([features, head])


def tutorial() -> Any:  # noqa: ANN401
    """The standard tutorial classifier: augmentation, Rescaling, convolutions, logits."""
    from tf_keras import Sequential, layers

    augmentation = Sequential(
        [layers.RandomFlip(input_shape=(24, 20, 3)), layers.RandomRotation(0.1), layers.RandomHeight(0.1)]
    )
    return Sequential(
        [
            augmentation,
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def expressions(mode: str) -> Callable[[], Any]:
    """`preprocess_input` inside a model, layers in an order that is not alphabetical, and one sigmoid."""

    def build() -> Any:  # noqa: ANN401
        from tf_keras import Input, Model, applications, layers

        family = {"tf": "mobilenet_v2", "caffe": "resnet50", "torch": "densenet"}[mode]
        image = Input((24, 20, 3))
        value = getattr(applications, family).preprocess_input(image)
        first = layers.Conv2D(4, 3, padding="same", name="z/first")(value)
        second = layers.Conv2D(4, 3, padding="same", name="a_second")(value)
        value = layers.Concatenate()([layers.Add()([first, second]), second])
        value = layers.DepthwiseConv2D(3)(layers.SeparableConv2D(6, 3)(value))
        value = layers.LeakyReLU(0.2)(layers.ReLU(6.0)(layers.BatchNormalization()(value)))
        value = layers.GlobalAveragePooling2D()(value)
        return Model(image, layers.Dense(1, activation="sigmoid")(value))

    return build


def functions() -> Any:  # noqa: ANN401
    """TensorFlow's functions called on the tensors of a model."""
    import tensorflow as tf
    from tf_keras import Input, Model, layers

    image = Input((24, 20, 3))
    value = tf.nn.relu(layers.Conv2D(4, 3)(1.0 - image / 255.0))
    value = tf.concat([value, tf.nn.relu6(value + 3.0) * 0.5], axis=-1)
    return Model(image, tf.nn.softmax(layers.Dense(3)(tf.reduce_mean(value, axis=[1, 2]))))


def mixed_precision() -> Any:  # noqa: ANN401
    from tf_keras import Input, Model, layers, mixed_precision

    mixed_precision.set_global_policy("mixed_float16")
    image = Input((24, 20, 3))
    value = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    value = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(value))
    model = Model(image, layers.Activation("softmax", dtype="float32")(layers.Dense(3)(value)))
    mixed_precision.set_global_policy("float32")
    return model


def frozen_base() -> Any:  # noqa: ANN401
    """Transfer learning: a base model, half of it frozen, is called inside another."""
    from tf_keras import Input, Model, layers

    inner = Input((24, 20, 3))
    value = layers.BatchNormalization(name="norm_1")(layers.Conv2D(4, 3, name="conv_1")(inner))
    value = layers.BatchNormalization(name="norm_2")(layers.Conv2D(4, 3, name="conv_2")(value))
    base = Model(inner, value, name="base")
    base.layers[1].trainable = base.layers[2].trainable = False
    image = Input((24, 20, 3))
    value = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(image)
    value = layers.GlobalAveragePooling2D()(base(value, training=False))
    return Model(image, layers.Dense(3, activation="softmax")(value))


MODELS: dict[str, tuple[Callable[[], Any], list[int], float]] = {
    "teachable_machine": (teachable_machine, [224, 224, 3], 1.0),
    "tutorial": (tutorial, [24, 20, 3], 255.0),
    "expressions_tf": (expressions("tf"), [24, 20, 3], 255.0),
    "expressions_caffe": (expressions("caffe"), [24, 20, 3], 255.0),
    "expressions_torch": (expressions("torch"), [24, 20, 3], 255.0),
    "functions": (functions, [24, 20, 3], 255.0),
    "mixed_precision": (mixed_precision, [24, 20, 3], 255.0),
    "frozen_base": (frozen_base, [24, 20, 3], 20.0),
}
# tf_keras cannot save `...` in this format; the other is large.
H5_ONLY = frozenset(["expressions_caffe", "teachable_machine"])


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or MODELS:
        build, shape, highest = MODELS[name]
        record(f"{name}_h5", build(), shape, highest, "h5")
        if name not in H5_ONLY:
            record(f"{name}_keras", build(), shape, highest, "keras")


if __name__ == "__main__":
    main()
