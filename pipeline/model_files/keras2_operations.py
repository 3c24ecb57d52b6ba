"""Translates functions of TensorFlow that Keras 2 saved as layers, such as `x / 127.5`, to Keras 3's.

Only functions are known that compute the same with the arguments that are translated; another one is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelFileInvalid, NetworkUnsuitable

OPERATION_LAYERS = frozenset(["TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"])
# Keras 2's mark for a constant in the place of a tensor.
CONSTANT = "_CONSTANT_VALUE"


@dataclass(frozen=True)
class _Operation:
    """An operation of Keras 3.

    `first` and `operands` are the names of TensorFlow's arguments that it is called with; `settings` maps
    others to its own.
    """

    module: str
    class_name: str
    first: str = "x"
    operands: tuple[str, ...] = ()
    settings: tuple[tuple[str, str, Any], ...] = ()  # TensorFlow's name, Keras's name, default
    ignored: tuple[str, ...] = ("name",)


def _numpy(class_name: str, *operands: str, **arguments: Any) -> _Operation:  # noqa: ANN401
    return _Operation("keras.src.ops.numpy", class_name, operands=operands, **arguments)


def _nn(class_name: str, first: str, *settings: tuple[str, str, Any]) -> _Operation:
    return _Operation("keras.src.ops.nn", class_name, first, settings=settings)


def _reduction(class_name: str) -> _Operation:
    settings = (("axis", "axis", None), ("keepdims", "keepdims", False))
    return _numpy(class_name, first="input_tensor", settings=settings)


# By the path of the function below `tf`.
OPERATIONS = {
    "math.truediv": _numpy("TrueDivide", "y"),
    "math.divide": _numpy("TrueDivide", "y"),
    "realdiv": _numpy("TrueDivide", "y"),
    "math.subtract": _numpy("Subtract", "y"),
    "subtract": _numpy("Subtract", "y"),
    "math.add": _numpy("Add", "y"),
    "add": _numpy("Add", "y"),
    "__operators__.add": _numpy("Add", "y"),
    "math.multiply": _numpy("Multiply", "y"),
    "multiply": _numpy("Multiply", "y"),
    "math.maximum": _numpy("Maximum", "y"),
    "math.minimum": _numpy("Minimum", "y"),
    "math.negative": _numpy("Negative"),
    "math.abs": _numpy("Absolute"),
    "math.square": _numpy("Square"),
    "math.sqrt": _numpy("Sqrt"),
    "math.exp": _numpy("Exp"),
    "math.tanh": _numpy("Tanh"),
    "math.reduce_mean": _reduction("Mean"),
    "math.reduce_max": _reduction("Max"),
    "math.reduce_sum": _reduction("Sum"),
    "nn.bias_add": _numpy("Add", "bias", first="value", ignored=("name", "data_format")),
    "nn.relu": _nn("Relu", "features"),
    "nn.relu6": _nn("Relu6", "features"),
    "nn.silu": _nn("Silu", "features"),
    "nn.swish": _nn("Silu", "features"),
    "math.sigmoid": _nn("Sigmoid", "x"),
    "nn.sigmoid": _nn("Sigmoid", "x"),
    "nn.softmax": _nn("Softmax", "logits", ("axis", "axis", -1)),
    "nn.log_softmax": _nn("LogSoftmax", "logits", ("axis", "axis", -1)),
    "reshape": _numpy("Reshape", first="tensor", settings=(("shape", "newshape", None),)),
    "expand_dims": _numpy("ExpandDims", first="input", settings=(("axis", "axis", None),)),
    "cast": _Operation("keras.src.ops.core", "Cast", settings=(("dtype", "dtype", "float32"),)),
    "concat": _numpy("Concatenate", first="values", settings=(("axis", "axis", -1),)),
    "__operators__.getitem": _numpy("GetItem", "slice_spec"),
}


def translate_operation(layer: dict[str, Any], path: Path) -> dict[str, Any]:
    """A layer of a Functional model as Keras 3 writes it, if it is a function of TensorFlow; else the layer.

    Raises `NetworkUnsuitable` for an unknown function.
    """
    if layer.get("class_name") not in OPERATION_LAYERS:
        return layer
    config = layer.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ModelFileInvalid(path, "one of its operations of TensorFlow has no name")
    function, name = config.get("function", config.get("node_def")), config["name"]
    operation = OPERATIONS.get(function) if isinstance(function, str) else None
    if operation is None:
        raise _unknown(path, name, function)
    nodes = [_node(node, operation, name, path) for node in layer.get("inbound_nodes", [])]
    settings = {key: value for _, found in nodes for key, value in found.items()}
    if any(found != settings for _, found in nodes):
        raise _unknown(path, name, f"{function} with several settings")
    return {
        "module": operation.module,
        "class_name": operation.class_name,
        "config": {"name": name} | settings,
        "registered_name": operation.class_name,
        "name": layer.get("name", name),
        "inbound_nodes": [{"args": arguments, "kwargs": {}} for arguments, _ in nodes],
    }


def _unknown(path: Path, name: str, function: object) -> NetworkUnsuitable:
    return NetworkUnsuitable(
        path,
        f"{name!r} calls a function of TensorFlow that is not translated to Keras 3 ({str(function)[:80]})",
        "Use a layer of Keras for it where the model is made; or bring it as a SavedModel folder, which "
        'model.save("folder", save_format="tf") writes under Keras 2',
    )


def _node(
    node: Any,  # noqa: ANN401
    operation: _Operation,
    name: str,
    path: Path,
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments and settings of one call: [layer, call, output, arguments], or a list of tensors first."""
    if operation.class_name == "Concatenate" and isinstance(node, list):
        tensors = [entry[:3] for entry in node if isinstance(entry, list)]
        given = node[-1][3] if node and isinstance(node[-1], list) and len(node[-1]) == 4 else {}
        arguments: list[Any] = [[_tensor(entry) for entry in tensors]]
    elif isinstance(node, list) and len(node) == 4 and isinstance(node[3], dict):
        given = node[3]
        arguments = [node[2] if node[0] == CONSTANT else _tensor(node[:3])]
    else:
        raise ModelFileInvalid(path, f"the call of {name!r} is not in the form of Keras 2")
    given = {key: value for key, value in given.items() if key not in operation.ignored}
    if operation.class_name == "GetItem" and isinstance(given.get("slice_spec"), list):
        # A tuple of positions, not an array.
        arguments.append([_operand(part, name, path) for part in given.pop("slice_spec")])
    else:
        arguments += [_operand(given.pop(key), name, path) for key in operation.operands if key in given]
    if len(arguments) != 1 + len(operation.operands):
        raise ModelFileInvalid(path, f"the call of {name!r} lacks an argument")
    settings = {own: given.pop(key, default) for key, own, default in operation.settings}
    if any(value is not None for value in given.values()):
        raise _unknown(path, name, f"with {', '.join(given)}")
    if any(_is_tensor(value) for value in settings.values()):
        raise _unknown(path, name, "with a setting that is computed")
    return arguments, settings


def _is_tensor(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(part, int) for part in value[1:])
    )


def _numbers(value: object) -> bool:
    if isinstance(value, list):
        return all(_numbers(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tensor(history: list[Any]) -> dict[str, Any]:
    # Keras replaces it by the tensor of this history; shape and dtype are not used.
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None], "dtype": "float32", "keras_history": list(history)},
    }


def _operand(value: Any, name: str, path: Path) -> Any:  # noqa: ANN401
    """A tensor, a number, a list of numbers, or the parts of an index."""
    if _is_tensor(value):
        return _tensor(value)
    if isinstance(value, list) and value and _numbers(value):
        return {"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}
    if isinstance(value, list):
        return [_operand(item, name, path) for item in value]
    if isinstance(value, dict):
        if value.get("class_name") in ("__ellipsis__", "Ellipsis"):
            return {"class_name": "__ellipsis__", "config": {}}
        if set(value) == {"start", "stop", "step"} and all(
            part is None or isinstance(part, int) for part in value.values()
        ):
            return {"class_name": "__slice__", "config": value}
    if value is None or isinstance(value, int | float):
        return value
    raise ModelFileInvalid(path, f"an argument of {name!r} is {str(value)[:80]}")
