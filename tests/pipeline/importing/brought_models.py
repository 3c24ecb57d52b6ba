"""Small models as users bring them. They are right on photos of one colour if pixels are as they want.

No training: a class has one colour, and the network finds the nearest one, which is linear in the mean pixel:
`2 x·c - |c|^2`. With another scale or order of channels it answers something else.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pipeline.network.backend import keras

# Sorted by name, as Keras numbers class folders.
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "black": (25, 25, 25),
    "blue": (40, 60, 200),
    "grey": (110, 110, 110),
    "red": (200, 60, 40),
    "white": (225, 225, 225),
}
GREYS = {name: colour for name, colour in COLOURS.items() if len(set(colour)) == 1}
TWO = {"black": COLOURS["black"], "white": COLOURS["white"]}


def write_photos(folder: Path, colours: Mapping[str, tuple[int, int, int]], images: int) -> Path:
    """Class folders with photos of one colour and some noise, of several shapes."""
    random = np.random.default_rng(7)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(images):
            height, width = random.integers(40, 80, 2)
            noise = random.normal(0, 12, (height, width, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")
    return folder


def nearest_colour(
    colours: Mapping[str, tuple[int, int, int]],
    factor: float = 1.0,
    offset: float = 0.0,
    channels: str = "RGB",
    sharpness: float = 30.0,
) -> keras.layers.Dense:
    """A layer on the mean of scaled pixels, [N,C], whose outputs are logits of the colours."""
    table = np.array(list(colours.values()), np.float32)
    table = {"RGB": table, "BGR": table[:, ::-1], "grey": table[:, :1]}[channels]
    # Distances are measured in units of the whole range, so that all scales give the same probabilities.
    centres, unit = factor * table + offset, sharpness / (255 * factor) ** 2
    layer = keras.layers.Dense(len(colours), name="scores")
    layer.build((None, centres.shape[1]))
    layer.set_weights([2 * unit * centres.T, -unit * (centres**2).sum(axis=1)])
    return layer


def one_column(colours: Mapping[str, tuple[int, int, int]], activation: str | None) -> keras.layers.Dense:
    """The same for two colours and pixels from 0 to 1, as one logit or probability of the second."""
    full = nearest_colour(colours, 1 / 255)
    layer = keras.layers.Dense(1, activation=activation, name="scores")
    layer.build((None, 3))
    kernel, bias = full.get_weights()
    layer.set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    return layer


def tutorial_classifier(size: int = 48) -> keras.Model:
    """As Keras's tutorials have it: augmentation and Rescaling inside, logits at the end."""
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
            nearest_colour(COLOURS, 1 / 255),
        ]
    )


def without_preprocessing(factor: float, offset: float, channels: str = "RGB", size: int = 48) -> keras.Model:
    """Nothing in the file tells which pixels it wants; probabilities at the end."""
    image = keras.Input((size, size, 1 if channels == "grey" else 3))
    colours = GREYS if channels == "grey" else COLOURS
    means = keras.layers.GlobalAveragePooling2D()(image)
    logits = nearest_colour(colours, factor, offset, channels)(means)
    return keras.Model(image, keras.layers.Softmax()(logits))


def cats_and_dogs(activation: str | None) -> keras.Model:
    """Two classes in one column."""
    image = keras.Input((48, 48, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, one_column(TWO, activation)(means))


def wrong_scale_inside() -> keras.Model:
    """The tutorial's mistake: trained on pixels from -1 to 1, and saved behind layers for 0 to 1."""
    image = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(48, 48, interpolation="lanczos3")(image))
    network = without_preprocessing(1 / 127.5, -1.0)
    return keras.Model(image, network(scaled))


# A layer of the user's own, in a file of its own.
CODE = """
import keras


@keras.saving.register_keras_serializable("mine")
class Mean(keras.layers.Layer):
    def call(self, pixels):
        return keras.ops.mean(pixels, axis=(1, 2))
"""


def save_onnx(file: Path) -> None:
    """As PyTorch's users have it: channels first, a batch of one, logits, pixels from 0 to 1."""
    kernel, bias = nearest_colour(COLOURS, 1 / 255).get_weights()
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"], axis=1),
            helper.make_node("Gemm", ["means", "kernel", "bias"], ["logits"]),
        ],
        "torch_export",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(COLOURS)])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


def save_saved_model(folder: Path) -> None:
    """A SavedModel folder, as `model.export` writes it."""
    without_preprocessing(1 / 127.5, -1.0).export(folder, verbose=False)


def save_with_own_layer(file: Path) -> None:
    """A Keras file with a layer that only `CODE` defines; the code is beside it, as layers.py."""
    code = file.with_name("layers.py")
    code.write_text(CODE)
    names: dict[str, type[keras.layers.Layer]] = {}
    exec(compile(CODE, str(code), "exec"), names)  # noqa: S102  (this module's own text)
    image = keras.Input((48, 48, 3))
    logits = nearest_colour(COLOURS, 1 / 127.5, -1.0)(names["Mean"]()(image))
    keras.Model(image, keras.layers.Softmax()(logits)).save(file)
