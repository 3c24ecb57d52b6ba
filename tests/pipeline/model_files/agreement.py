"""Saves Keras models, opens them as users' files and compares what they answer."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipeline.model_files.model_file import Description, ModelFile
from pipeline.model_files.opening import open_model_file
from pipeline.network.backend import keras

Floats = npt.NDArray[np.float32]
# Sums of float32 in another order.
TOLERANCE = 1e-5


def saved(model: keras.Model, folder: Path, name: str = "model.keras") -> ModelFile:
    """The model as a user's file that was opened."""
    model.save(folder / name)
    return open_model_file(folder / name)


def pixels(description: Description, size: tuple[int, int] = (24, 20), images: int = 3) -> Floats:
    """Random pixels [N,H,W,C] between 0 and 255, of the size that the file asks for, or of `size`."""
    height, width = description.height or size[0], description.width or size[1]
    shape = (images, height, width, description.channels)
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


def scaled(images: Floats, description: Description) -> Floats:
    """The images as the network takes them, after the leading layers that were described."""
    if description.scaling is None:
        return images
    factor, offset = (np.array(part) for part in (description.scaling.factor, description.scaling.offset))
    return np.asarray(images * factor + offset, np.float32)


def onnx_outputs(graph: bytes, values: Floats) -> Floats:
    """What ONNX Runtime answers for a network's graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["outputs"], {"values": values})[0], np.float32)


def check_agreement(file: ModelFile, expected: Floats, images: Floats, tolerance: float = TOLERANCE) -> None:
    """The file's network, its ONNX graph, and the same in other batches give `expected` for the images."""
    values = scaled(images, file.description)
    height, width = images.shape[1:3]
    outputs = file.predict(values)
    assert np.abs(outputs - expected.reshape(outputs.shape)).max() <= tolerance
    # The same bits: nothing is random or in training mode.
    assert np.array_equal(outputs, file.predict(values))
    graph = file.to_onnx(height, width)
    assert np.abs(onnx_outputs(graph, values) - outputs).max() <= tolerance
    assert np.abs(onnx_outputs(graph, values[1:2]) - outputs[1:2]).max() <= tolerance
    assert graph == file.to_onnx(height, width)
    network = file.to_keras(height, width)
    if network is not None:
        assert network.output_shape == (None, file.description.outputs)
        # Training mode would give the same answer to different images, or another one in another batch.
        assert np.abs(np.asarray(network(values)) - outputs).max() <= tolerance
