"""Reads an HDF5 file of Keras: a whole model with its configuration, or weights alone.

Keras itself assigns such weights by the order of layers, which differs between Keras 2 and Keras 3 for some
networks; here they are assigned by the names of layers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.errors import ModelFileInvalid
from pipeline.model_files import hdf5_file, keras2_configuration
from pipeline.model_files.hdf5_file import text_attribute
from pipeline.model_files.keras_model_file import KerasSource
from pipeline.model_files.keras_zip import MAX_CONFIG_BYTES, parse_configuration

# Random generators of Keras 2's augmentation layers, which have no weights in Keras 3.
GENERATOR_STATE = "StateVar"
MAX_CHUNKS = 10_000


def read(path: Path) -> KerasSource | None:
    """The model of an HDF5 file; None if it holds weights alone.

    Raises `ModelFileInvalid` or `ModelFileUnsafe`.
    """
    with hdf5_file.open_checked(path, path) as file:
        text, version = text_attribute(file, "model_config"), text_attribute(file, "keras_version")
        if text is None:
            return None
        if len(text) > MAX_CONFIG_BYTES:
            raise ModelFileInvalid(path, f"its configuration has {len(text):,} characters")
    config = parse_configuration(text, "model_config", path)
    version = version if version is not None and len(version) < 40 else ""
    notes: list[str] = []
    names: dict[str, str] = {}
    if not version.startswith("3"):
        config, notes = keras2_configuration.translate(config, path)
        names = keras2_configuration.names_without_slashes(config)
        config = keras2_configuration.rename_layers(config, names)
    return KerasSource(
        path,
        f"HDF5 file of Keras {'3' if version.startswith('3') else '2'}",
        f"Keras {version}" if version else "",
        config,
        lambda model: _load_weights(path, model, names),
        tuple(notes),
    )


def _load_weights(path: Path, model: Any, names: dict[str, str]) -> None:  # noqa: ANN401
    with hdf5_file.open_checked(path, path) as file:
        root = file.get("model_weights", file)
        load_by_name(root, model, path, lambda name: names.get(name, name))


def load_by_name(root: h5py.Group, model: Any, path: Path, renamed: Callable[[str], str]) -> None:  # noqa: ANN401
    """Assigns the weights of every layer of the model. Raises `ModelFileInvalid` unless all are there."""
    saved = {renamed(name): name for name in names_attribute(root, "layer_names")}
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in saved:
            raise ModelFileInvalid(path, f"it has no weights for layer {layer.name!r}")
        _assign(root[saved[layer.name]], layer, path, renamed)


def _assign(group: h5py.Group, layer: Any, path: Path, renamed: Callable[[str], str]) -> None:  # noqa: ANN401
    """Assigns the weights of one layer, or of all layers of a model that is a layer."""
    names = [
        name for name in names_attribute(group, "weight_names") if GENERATOR_STATE not in name.split("/")[-1]
    ]
    # Keras writes trainable weights first.
    wanted = list(layer.trainable_weights) + list(layer.non_trainable_weights)
    owners = {id(weight): inner.name for inner in _leaves(layer) for weight in inner.weights}
    if len(names) != len(wanted):
        reason = f"it has {len(names)} weights for layer {layer.name!r}, which takes {len(wanted)}"
        raise ModelFileInvalid(path, reason)
    by_owner: dict[str, list[str]] = {}
    for name in names:
        by_owner.setdefault(renamed(_owner(name, renamed, set(owners.values()))), []).append(name)
    counts: dict[str, int] = {}
    for weight in wanted:
        counts[owners[id(weight)]] = counts.get(owners[id(weight)], 0) + 1
    # Names that TensorFlow 1 made unique ("Conv1_2/kernel:0") match no layer: then the order counts.
    if {owner: len(members) for owner, members in by_owner.items()} == counts:
        names = [by_owner[owners[id(weight)]].pop(0) for weight in wanted]
    for name, weight in zip(names, wanted, strict=True):
        values = np.asarray(group[name])
        if values.shape != tuple(weight.shape):
            reason = f"weight {name} has the shape {list(values.shape)}; its layer takes {list(weight.shape)}"
            raise ModelFileInvalid(path, reason)
        weight.assign(values)
    for inner in _leaves(layer):
        # Normalization derives what it computes with from its weights.
        if hasattr(inner, "finalize_state"):
            inner.finalize_state()


def _owner(name: str, renamed: Callable[[str], str], known: set[str]) -> str:
    """The layer in a name such as "base/block1/conv/kernel:0", whose own name may have slashes."""
    parts = name.split("/")[:-1]
    candidates = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((part for part in candidates if renamed(part) in known), "/".join(parts))


def _leaves(layer: Any) -> list[Any]:  # noqa: ANN401
    """The layers inside that are no models themselves."""
    return [inner for inner in layer._flatten_layers() if not list(inner._flatten_layers(include_self=False))]


def names_attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of names, which Keras splits over several attributes (`name0`, `name1`, ...) if it is long."""
    parts = [name] if name in group.attrs else []
    if not parts:
        for number in range(MAX_CHUNKS):
            if f"{name}{number}" not in group.attrs:
                break
            parts.append(f"{name}{number}")
    values = [value for part in parts for value in np.asarray(group.attrs[part]).reshape(-1)]
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
