"""Reads a file of weights alone, as save_weights writes it, into a network of keras.applications."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py

from pipeline.errors import ArchitectureUnclear, ModelFileInvalid
from pipeline.model_files import hdf5_file, keras_h5
from pipeline.model_files.keras_model_file import KerasSource
from pipeline.model_files.model_file import short_message
from pipeline.network.backend import keras

# Layers of keras.applications that give the classes, by the name of their group and its number.
CLASSIFIERS = (re.compile(r"dense(?:_(\d+))?"), re.compile(r"conv2d(?:_(\d+))?"))


def architectures() -> dict[str, Any]:
    """The networks of keras.applications by name."""
    return {
        name: value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }


def read(path: Path, architecture: str | None) -> KerasSource:
    """The network with that name, which takes its weights from the file when they are needed.

    Raises `ArchitectureUnclear`, `ModelFileInvalid` or `ModelFileUnsafe`.
    """
    known = architectures()
    with hdf5_file.open_checked(path, path) as file:
        classes = _classes(file)
        version = hdf5_file.text_attribute(file, "keras_version") or ""
    if classes is None:
        raise ModelFileInvalid(
            path,
            "it is an HDF5 file without a model or weights of Keras",
            'model.save("model.keras") writes one',
        )
    if architecture is None:
        raise ArchitectureUnclear(path, "no architecture is named", known)
    if architecture not in known:
        raise ArchitectureUnclear(path, f"there is no {architecture!r} in keras.applications", known)
    try:
        model = known[architecture](weights=None, classes=classes)
    except (ValueError, TypeError) as error:
        reason = f"{architecture} cannot have {classes} classes ({short_message(error)})"
        raise ArchitectureUnclear(path, reason, known) from error

    def load(target: Any) -> None:  # noqa: ANN401
        try:
            _load(path, target)
        except MemoryError:
            raise
        # Keras raises several types for weights of another network.
        except Exception as error:
            reason = f"they do not fit {architecture} with {classes} classes ({short_message(error)})"
            raise ArchitectureUnclear(path, reason, known) from error

    return KerasSource(
        path,
        f"weights for {architecture} of keras.applications",
        f"Keras {version}" if 0 < len(version) < 40 else "",
        keras.saving.serialize_keras_object(model),
        load,
    )


def _classes(file: h5py.File) -> int | None:
    """The number of classes: the size of the last kernel. None if the file has no weights of Keras."""
    names = keras_h5.names_attribute(file, "layer_names")
    if names:
        for name in reversed(names):
            for weight in keras_h5.names_attribute(file[name], "weight_names"):
                if weight.split("/")[-1].startswith("kernel"):
                    return int(file[name][weight].shape[-1])
        return None
    layers = file.get("layers", file.get("_layer_checkpoint_dependencies"))
    if not isinstance(layers, h5py.Group):
        return None
    for pattern in CLASSIFIERS:
        numbered = {int(match[1] or 0): name for name in layers if (match := pattern.fullmatch(name))}
        if numbered and "vars/0" in layers[numbered[max(numbered)]]:
            return int(layers[numbered[max(numbered)]]["vars/0"].shape[-1])
    return None


def _load(path: Path, model: Any) -> None:  # noqa: ANN401
    with hdf5_file.open_checked(path, path) as file:
        saved = [name.replace("/", "_") for name in keras_h5.names_attribute(file, "layer_names")]
        needed = {layer.name for layer in model.layers if layer.weights}
        if needed <= set(saved):
            keras_h5.load_by_name(file, model, path, lambda name: name.replace("/", "_"))
            return
    with TemporaryDirectory(prefix="goldfish-") as folder:
        # Keras tells the two forms apart by the end of the name.
        link = Path(folder) / ("legacy.h5" if saved else "model.weights.h5")
        link.symlink_to(path.resolve())
        model.load_weights(link)
