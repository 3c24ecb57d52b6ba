"""A network that a function of the user's makes: `build.network: file.py:function`.

The function gets the pixels, a float32 tensor [N,S,S,3] with values from 0 to 255, and the number of classes.
It returns a tensor, or a model with one: probabilities [N,K] by a softmax, logits [N,K], or features, [N,F]
or [N,h,w,F], to which average pooling, dropout and a softmax are added.
"""

import traceback
from pathlib import Path
from typing import Any

from pipeline.errors import CustomCodeInvalid, NetworkInvalid
from pipeline.model_files.custom_code import import_custom_code
from pipeline.model_files.heads import last_activation
from pipeline.network import architectures, keras_archive
from pipeline.network.backend import keras


def build_user_network(path: Path, function: str, size: int, dropout: float, classes: int) -> Any:  # noqa: ANN401
    """The network for uint8 images [N,S,S,3] and probabilities [N,K]; raises `NetworkInvalid`."""
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    # Only changes the type; its factor is one.
    pixels = keras.layers.Rescaling(1.0)(image)
    returned = _call(path, function, pixels, classes)
    outputs = _single_output(returned, pixels, path, function)
    try:
        network = keras.Model(image, outputs)
    except ValueError as error:
        # The output does not depend on the pixels.
        raise NetworkInvalid(path, function, _shorten(error)) from error
    network = _with_head(network, dropout, classes, path, function)
    _check_reloads(network, path, function)
    return network


def _call(path: Path, name: str, pixels: Any, classes: int) -> Any:  # noqa: ANN401
    if not path.is_file():
        raise NetworkInvalid(
            path, name, f"there is no such file; put {path.name} beside the photos, in data/raw/<model>/"
        )
    try:
        defined = import_custom_code(path)
    except CustomCodeInvalid as error:
        raise NetworkInvalid(path, name, _describe(error.__cause__ or error, path)) from error
    if name not in defined:
        listed = ", ".join(key for key in defined if key.isidentifier()) or "none"
        raise NetworkInvalid(path, name, f"the file defines no function {name}; it defines {listed}")
    try:
        return defined[name](pixels, classes)
    # A user's function can raise anything.
    except (Exception, SystemExit) as error:
        raise NetworkInvalid(path, name, _describe(error, path)) from error


def _describe(error: BaseException, path: Path) -> str:
    """The error, and the last line of the user's file that led to it."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == path.name]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {_shorten(error)}"


def _single_output(returned: Any, pixels: Any, path: Path, function: str) -> Any:  # noqa: ANN401
    """The tensor that was returned, or that a returned model gives for the pixels."""
    if isinstance(returned, keras.Model):
        try:
            # A model that was built on the pixels, or one with an input of its own or none yet.
            inputs = returned.inputs if returned.built else []
            on_pixels = any(tensor is pixels for tensor in inputs)
            returned = returned.output if on_pixels else returned(pixels)
        except (ValueError, TypeError, AttributeError) as error:
            raise NetworkInvalid(path, function, _describe(error, path)) from error
    if not isinstance(returned, keras.KerasTensor):
        raise NetworkInvalid(path, function, f"it returns {_kind(returned)} instead of a tensor or a model")
    return returned


def _with_head(network: Any, dropout: float, classes: int, path: Path, function: str) -> Any:  # noqa: ANN401
    """The network with probabilities as its output."""
    image, outputs = network.input, network.output
    shape = tuple(outputs.shape)
    if len(shape) == 4:
        return architectures.add_head(image, keras.layers.GlobalAveragePooling2D()(outputs), dropout, classes)
    if len(shape) != 2 or shape[1] is None:
        expected = f"[N, {classes}] with probabilities or logits, or features [N, F] or [N, h, w, F]"
        raise NetworkInvalid(path, function, f"its output has the shape {list(shape)} instead of {expected}")
    if shape[1] != classes:
        return architectures.add_head(image, outputs, dropout, classes)
    activation = last_activation(network)[0]
    if activation == "softmax":
        return network
    if activation == "linear":
        return keras.Model(image, keras.layers.Softmax(name="predictions")(outputs))
    raise NetworkInvalid(
        path,
        function,
        f"its {classes} outputs, one for each class, come from {activation or 'an unknown function'} instead "
        "of a softmax or a Dense layer without activation",
    )


def _check_reloads(network: Any, path: Path, function: str) -> None:  # noqa: ANN401
    """The stages after this one load the network without the user's code."""
    try:
        keras_archive.from_bytes(keras_archive.to_bytes(network))
    # Keras raises many types for what it cannot save or load.
    except Exception as error:
        reason = (
            "it uses layers or functions of its own, or a Lambda, so the model could not be loaded without "
            f"the file: {_shorten(error)}. Build it from keras.layers and keras.ops, or bring the trained "
            "model with method: import and code"
        )
        raise NetworkInvalid(path, function, reason) from error


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _shorten(error: BaseException) -> str:
    # Keras wraps the reason in the configuration of the whole model.
    reason = str(error).rpartition("Exception encountered:")[2]
    return " ".join(reason.split())[:300].rstrip(".")
