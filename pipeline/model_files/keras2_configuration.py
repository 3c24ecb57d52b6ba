"""Translates the configuration of a model of Keras 2, or of an older Keras 3, to what Keras 3 builds.

The result is checked like any other configuration; what this module does not know is left as it is. Layers of
the same class compute the same in both, except for those that are refused here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ModelFileInvalid, NetworkUnsuitable
from pipeline.model_files.keras2_operations import translate_operation
from pipeline.model_files.keras_classes import CONSTRAINTS, INITIALIZERS, LAYERS, REGULARIZERS

# The package that a class of Keras is in, in files of Keras 2: "keras.src.engine.functional",
# "tf_keras.src.layers.convolutional.conv2d", "tensorflow.python.keras.layers", "keras.layers", ...
PACKAGES = frozenset(["keras", "tf_keras", "tensorflow"])
MODELS = frozenset(["Functional", "Model"])
# Keys whose lists begin with the name of a layer.
REFERENCES = frozenset(["inbound_nodes", "input_layers", "output_layers", "keras_history"])

# Arguments that Keras 3 does not know, with the values that mean the same as leaving them away.
OBSOLETE: dict[str, dict[str, Sequence[object]]] = {
    "DepthwiseConv2D": {
        "groups": (1,),
        "kernel_initializer": (),
        "kernel_regularizer": (),
        "kernel_constraint": (),
    },
    "SeparableConv2D": {
        "groups": (1,),
        "kernel_initializer": (),
        "kernel_regularizer": (),
        "kernel_constraint": (),
    },
    "Conv2DTranspose": {"groups": (1,)},
    "BatchNormalization": {
        "renorm": (False, None),
        "renorm_clipping": (None,),
        "renorm_momentum": (),
        "virtual_batch_size": (None,),
        "adjustment": (None,),
        "fused": (),
    },
}
OBSOLETE["DepthwiseConv1D"], OBSOLETE["SeparableConv1D"] = (
    OBSOLETE["DepthwiseConv2D"],
    OBSOLETE["SeparableConv2D"],
)
# The same for all layers. `()` allows every value: it does not matter without training.
OBSOLETE_EVERYWHERE: dict[str, Sequence[object]] = {"rng_type": (), "optional": (False, None)}
RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}, "InputLayer": {"batch_input_shape": "batch_shape"}}
# Layers of Keras 2 that only augment images in training, and that Keras 3 does not have.
AUGMENTATIONS = frozenset(["RandomHeight", "RandomWidth"])
# The name under which TensorFlow's own function was saved.
ACTIVATION_NAMES = {"softmax_v2": "softmax", "relu_v2": "relu"}


@dataclass
class _Translation:
    path: Path
    notes: list[str] = field(default_factory=list)


def translate(config: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """The configuration for Keras 3, and notes. Raises a `PipelineError` for what has no counterpart."""
    translation = _Translation(path)
    result = _translate(config, "", translation)
    return result, translation.notes


def _translate(node: Any, key: str, translation: _Translation) -> Any:  # noqa: ANN401
    if isinstance(node, list):
        return [_translate(item, key, translation) for item in node]
    if not isinstance(node, dict):
        return ACTIVATION_NAMES.get(node, node) if key == "activation" and isinstance(node, str) else node
    if key == "dtype":
        return _policy(node)
    class_name, inner = node.get("class_name"), node.get("config")
    if not isinstance(class_name, str) or not _is_of_keras(node):
        return {name: _translate(value, name, translation) for name, value in node.items()}
    if class_name == "Sequential":
        node = node | {"config": _sequential(inner, translation)}
    elif class_name in MODELS and isinstance(inner, dict):
        node = node | {"config": _functional(inner, translation)}
    node = {name: _translate(value, name, translation) for name, value in node.items()}
    module = _module(class_name, key)
    if module is None:
        return node
    node |= {"module": module, "registered_name": None}
    if class_name in MODELS:
        node |= {"class_name": "Functional", "registered_name": "Functional"}
        # Of the batch that it was saved with.
        node.pop("build_config", None)
    elif isinstance(node.get("config"), dict):
        node = _object(node, translation)
    return node


def _is_of_keras(node: Mapping[str, Any]) -> bool:
    module, registered = node.get("module"), node.get("registered_name")
    if isinstance(module, str) and module.startswith("keras.src.ops."):
        return False
    if isinstance(registered, str) and ">" in registered:
        return False
    return module is None or (isinstance(module, str) and module.split(".")[0] in PACKAGES)


def _module(class_name: str, key: str) -> str | None:
    """Keras 3's module of a class; None for a class that it does not have."""
    for suffix, module, names in (
        ("_initializer", "keras.initializers", INITIALIZERS),
        ("_regularizer", "keras.regularizers", REGULARIZERS),
        ("_constraint", "keras.constraints", CONSTRAINTS),
    ):
        if key.endswith(suffix):
            return module if class_name in names else None
    if class_name in MODELS:
        return "keras.src.models.functional"
    if class_name == "Sequential":
        return "keras"
    return "keras.layers" if class_name in LAYERS | AUGMENTATIONS else None


def _policy(node: dict[str, Any]) -> Any:  # noqa: ANN401
    """The name of a dtype policy; Keras 3's own objects stay."""
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) and str(node.get("class_name")).startswith("Policy") else node


def _sequential(inner: Any, translation: _Translation) -> dict[str, Any]:  # noqa: ANN401
    """The configuration of a Sequential model, which was only the list of its layers before Keras 2.2.3."""
    config = {"name": "sequential", "layers": inner} if isinstance(inner, list) else inner
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        raise ModelFileInvalid(translation.path, "a Sequential model has no list of layers")
    layers = [layer for layer in config["layers"] if isinstance(layer, dict)]
    first = layers[0].get("config") if layers else None
    if layers and layers[0].get("class_name") != "InputLayer" and isinstance(first, dict):
        shape = first.get("batch_input_shape") or config.get("build_input_shape")
        if shape is None and layers[0].get("class_name") in {*MODELS, "Sequential"}:
            return config | {"layers": layers}
        if isinstance(shape, list):
            name = f"{first.get('name', 'image')}_input"
            entry = {
                "module": "keras.layers",
                "class_name": "InputLayer",
                "config": {"batch_input_shape": shape, "dtype": "float32", "name": name},
                "registered_name": None,
            }
            layers = [entry, *layers]
    return config | {"layers": layers}


def _functional(inner: dict[str, Any], translation: _Translation) -> dict[str, Any]:
    """The configuration of a Functional model; operations of TensorFlow become those of Keras 3."""
    layers: Any = inner.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ModelFileInvalid(translation.path, "a Functional model has no list of layers")
    models = {
        layer["name"]
        for layer in layers
        if layer.get("class_name") in {*MODELS, "Sequential"} and isinstance(layer.get("name"), str)
    }
    layers = [
        layer | {"inbound_nodes": _count_calls_from_zero(layer.get("inbound_nodes", []), models)}
        for layer in layers
    ]
    sequential = {layer["name"] for layer in layers if layer.get("class_name") == "Sequential"}
    return inner | {
        "layers": [translate_operation(layer, translation.path) for layer in layers],
        "input_layers": _unwrapped(inner.get("input_layers")),
        # Keras 3 subtracts 1 for Functional models here, and only here.
        "output_layers": _unwrapped(_count_calls_from_zero(inner.get("output_layers"), sequential)),
    }


def _count_calls_from_zero(node: Any, models: set[Any]) -> Any:  # noqa: ANN401
    """Keras 2 counts the calls of a model inside another from 1, Keras 3 from 0 as for all layers."""
    if isinstance(node, dict):
        return {key: _count_calls_from_zero(value, models) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    is_tensor = len(node) in (3, 4) and all(isinstance(part, int) for part in node[1:3])
    if is_tensor and isinstance(node[0], str):
        call = node[1] - (node[0] in models)
        return [node[0], call, node[2], *(_count_calls_from_zero(part, models) for part in node[3:])]
    return [_count_calls_from_zero(item, models) for item in node]


def _unwrapped(layers: Any) -> Any:  # noqa: ANN401
    """A single tensor instead of a list of one, which Keras 3 would return as a list."""
    return layers[0] if isinstance(layers, list) and len(layers) == 1 else layers


def _object(node: dict[str, Any], translation: _Translation) -> dict[str, Any]:
    """A layer, initializer, regularizer or constraint, with the arguments of Keras 3."""
    class_name, config = node["class_name"], dict(node["config"])
    where = f"layer {config.get('name', class_name)!r}"
    if node["module"] != "keras.layers":
        config.pop("dtype", None)
        if class_name == "VarianceScaling" and config.get("distribution") == "normal":
            config["distribution"] = "truncated_normal"
        return node | {"config": config}
    if class_name in AUGMENTATIONS:
        translation.notes.append(f"{class_name} {config.get('name')!r} only matters in training: left out.")
        config = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
        return node | {"class_name": "Identity", "config": config}
    for old, new in RENAMED.get(class_name, {}).items():
        if old in config:
            config[new] = config.pop(old)
    if class_name != "InputLayer":
        config.pop("batch_input_shape", None)
    for name, harmless in (OBSOLETE_EVERYWHERE | OBSOLETE.get(class_name, {})).items():
        if name in config and (not harmless or config[name] in harmless):
            del config[name]
    _check_meaning(config, where, translation)
    return node | {"config": _single_axis(class_name, config)}


def _check_meaning(config: dict[str, Any], where: str, translation: _Translation) -> None:
    """Refuses what Keras 3 would compute differently, or not at all."""
    for key in ("activation", "recurrent_activation"):
        if config.get(key) == "hard_sigmoid":
            # 0.2 x + 0.5 there, x / 6 + 0.5 here.
            raise NetworkUnsuitable(
                translation.path,
                f"{where} uses hard_sigmoid, which Keras 2 and Keras 3 compute differently",
                "Convert it where it works, model.save('folder', save_format='tf') under Keras 2, and bring "
                "that folder",
            )
    if config.get("renorm"):
        raise NetworkUnsuitable(
            translation.path,
            f"{where} uses batch renormalisation, which Keras 3 does not have",
            "Convert it where it works, model.save('folder', save_format='tf'), and bring that folder",
        )


def _single_axis(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    axis: Any = config.get("axis")
    is_list = class_name in ("BatchNormalization", "LayerNormalization") and isinstance(axis, list)
    return config | {"axis": axis[0]} if is_list and len(axis) == 1 else config


def names_without_slashes(config: dict[str, Any]) -> dict[str, str]:
    """New names for layers whose name has a slash, which Keras 3 does not allow."""
    old = {name for name in _names(config) if "/" in name}
    taken = {name for name in _names(config) if "/" not in name}
    renamed: dict[str, str] = {}
    for name in sorted(old):
        new = name.replace("/", "_")
        while new in taken:
            new += "_"
        taken.add(new)
        renamed[name] = new
    return renamed


def _names(node: Any) -> Iterator[str]:  # noqa: ANN401
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            if isinstance(node.get("name"), str):
                yield node["name"]
            stack += node.values()


def rename_layers(config: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A copy in which layers, and the references to them, have the names that `names` gives for theirs."""
    return _rename(config, names, False) if names else config


def _rename(node: Any, names: Mapping[str, str], is_reference: bool) -> Any:  # noqa: ANN401
    """`is_reference`: inside a key that refers to layers, where lists begin with a layer's name."""
    if isinstance(node, list):
        items = [_rename(item, names, is_reference) for item in node]
        is_tensor = len(node) in (3, 4) and all(isinstance(part, int) for part in node[1:3])
        if is_reference and is_tensor and isinstance(node[0], str):
            items[0] = names.get(node[0], node[0])
        return items
    if not isinstance(node, dict):
        return node
    renamed = {key: _rename(value, names, is_reference or key in REFERENCES) for key, value in node.items()}
    if not is_reference and isinstance(renamed.get("name"), str):
        renamed["name"] = names.get(renamed["name"], renamed["name"])
    return renamed
