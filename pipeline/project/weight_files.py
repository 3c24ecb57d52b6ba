"""Reads the weights in `.keras` and `.onnx` files; without TensorFlow, which takes seconds to import."""

import io
import zipfile

import h5py
import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError

KERAS_WEIGHTS = "model.weights.h5"
Weights = dict[str, npt.NDArray[np.generic]]


def read_keras(archive: bytes) -> Weights:
    """The arrays of a `.keras` file by their path in it; a `ValueError` if it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            data = opened.read(KERAS_WEIGHTS)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(str(error)) from None
    arrays: Weights = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(lambda name, item: _keep(arrays, name, item))
    return arrays


def _keep(arrays: Weights, name: str, item: object) -> None:
    if isinstance(item, h5py.Dataset):
        arrays[name] = np.asarray(item)


def read_onnx(graph: bytes) -> Weights:
    """The constants of an ONNX graph by their name; a `ValueError` if it is damaged."""
    try:
        tensors = onnx.load_from_string(graph).graph.initializer
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
