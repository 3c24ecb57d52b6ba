"""Files of Keras 2, rebuilt from records that `record_keras2_files.py` made with tf_keras.

A record has the configuration, the names and shapes of weights, and what tf_keras answered. The weights
themselves are pseudo-random numbers that follow from their names, so a record stays small.
"""

import gzip
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

FIXTURES = Path(__file__).parent / "fixtures"


def values(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The weights of that name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    # In `.keras` files they are numbered: BatchNorm's are gamma, beta, mean and variance.
    of_batch_norm = name.endswith("vars/3") or (name.endswith("vars/0") and len(shape) == 1)
    if "variance" in name or "gamma" in name or of_batch_norm:
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    # About the scale of trained networks, so that differences between images reach the outputs.
    if len(shape) < 2:
        return generator.normal(0, 0.1, shape).astype(np.float32)
    inputs = np.prod(shape[:2] if "depthwise_kernel" in name else shape[:-1])
    return generator.normal(0, 1.5 / np.sqrt(inputs), shape).astype(np.float32)


def images(shape: list[int], highest: float) -> npt.NDArray[np.float32]:
    """The images [3,H,W,C] that a record's answers belong to, of different brightness."""
    brightness = np.array([0.1, 0.5, 1]).reshape(3, 1, 1, 1)
    return np.asarray(np.random.default_rng(9).uniform(0, highest, (3, *shape)) * brightness, np.float32)


def load(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / f"{name}.json.gz").read_bytes()))
    return record


def rebuild(record: dict[str, Any], folder: Path) -> Path:
    """Writes the file of a record."""
    if record["kind"] == "h5":
        path = folder / "model.h5"
        with h5py.File(path, "w") as file:
            write_h5(file, record)
        return path
    path, buffer = folder / "model.keras", io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in record["groups"]:
            file.create_group(name)
        for name, shape in record["weights"]:
            file[name] = values(name, tuple(shape)) if shape is not None else np.int64(0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": record["version"]}))
        archive.writestr("config.json", json.dumps(record["config"]))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def write_h5(file: h5py.File, record: dict[str, Any]) -> None:
    """A whole model as Keras 2 writes it: configuration in an attribute, one group for each layer."""
    file.attrs["model_config"] = json.dumps(record["config"]).encode()
    file.attrs["keras_version"] = record["version"].encode()
    file.attrs["backend"] = b"tensorflow"
    root = file.create_group("model_weights")
    root.attrs["layer_names"] = np.array([layer.encode() for layer, _ in record["weights"]])
    for layer, weights in record["weights"]:
        group = root.create_group(layer)
        group.attrs["weight_names"] = np.array([name.encode() for name, _ in weights], dtype="S")
        for name, shape in weights:
            group[name] = values(name, tuple(shape)) if shape is not None else np.int64(0)
