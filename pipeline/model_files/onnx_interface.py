"""What an ONNX graph takes and gives: layout, size and type of its input, and the head that its end shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto

from pipeline.errors import NetworkUnsuitable
from pipeline.model_files.model_file import Floats, Head

INPUT_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
OUTPUT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
# Operators after which a network's columns are what they were, or that only add to a product.
SHAPE_ONLY = frozenset(["Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
LINEAR = frozenset(["Add", "Conv", "Gemm", "MatMul"])
# Operators with which a graph scales its input.
SCALING = frozenset(["Add", "BatchNormalization", "Div", "InstanceNormalization", "Mul", "Sub"])
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Interface:
    """The input and output of a graph, by name."""

    image: str
    type: int
    layout: Layout
    height: int | None
    width: int | None
    channels: Literal[1, 3]
    batch: int | None
    output: str


def find_interface(graph: onnx.GraphProto, path: Path) -> Interface:
    weights = {tensor.name for tensor in graph.initializer}
    # In old files, weights are inputs too.
    inputs = [value for value in graph.input if value.name not in weights]
    for values, kind in ((inputs, "inputs"), (list(graph.output), "outputs")):
        if len(values) != 1:
            listed = ", ".join(f"{value.name} {_shape_text(value)}" for value in values[:8]) or "none"
            raise NetworkUnsuitable(
                path,
                f"it has {len(values)} {kind} ({listed})",
                "Take the part from the image to the classes: "
                'onnx.utils.extract_model("model.onnx", "part.onnx", ["input"], ["output"])',
            )
    image, output = inputs[0], graph.output[0]
    tensor_type = image.type.tensor_type
    shape = _dimensions(image)
    if tensor_type.elem_type not in INPUT_TYPES or len(shape) != 4:
        raise NetworkUnsuitable(
            path,
            f"its input {image.name!r} is {_shape_text(image)}, and an image is [N, channels, height, width]",
            "Export the network that takes decoded images, in float32",
        )
    if output.type.tensor_type.elem_type not in OUTPUT_TYPES:
        raise NetworkUnsuitable(
            path,
            f"its output {output.name!r} has the type {_type_name(output)}, not probabilities or logits",
            "Export the network without the step that chooses a class",
        )
    layout = _layout(graph, image.name, shape)
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    channels = shape[1] if layout == "NCHW" else shape[3] if layout else None
    if layout is None or channels not in (None, 1, 3):
        raise NetworkUnsuitable(
            path,
            f"its input {image.name!r} is {_shape_text(image)}, without 3 channels (RGB) or 1 (grey)",
            "Export it for images of 3 channels or 1",
        )
    channels = channels or _convolved_channels(graph, image.name)
    return Interface(
        image.name,
        tensor_type.elem_type,
        layout,
        height,
        width,
        1 if channels == 1 else 3,
        shape[0],
        output.name,
    )


def find_head(graph: onnx.GraphProto, output: str, columns: int, path: Path) -> tuple[Head | None, list[str]]:
    """The head by the last operator."""
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in SHAPE_ONLY:
        node = producers.get(node.input[0])
    kind = node.op_type if node is not None else "nothing"
    if kind == "Softmax":
        if columns == 1:
            raise NetworkUnsuitable(
                path, "it ends with a softmax over one column, which is always 1", "Export a network of two"
            )
        return "softmax", []
    if kind == "Sigmoid":
        if columns == 1:
            return "sigmoid", []
        raise NetworkUnsuitable(
            path,
            f"it ends with {columns} sigmoids, each an answer of its own, so an image can have several "
            "labels or none (multi-label)",
            "Only one class of several can be served; train it with softmax and cross-entropy for that",
        )
    if kind in LINEAR:
        return "logit" if columns == 1 else "logits", []
    if kind == "LogSoftmax":
        return "logits", ["It gives logarithms of probabilities, which count as logits."]
    return None, [f"Its last operator is {kind}, which tells no head: declare build.head."]


def as_input(values: Floats, interface: Interface) -> Any:  # noqa: ANN401
    """Scaled pixels [N,H,W,C] in the layout and type of the graph's input."""
    ordered = values.transpose(0, 3, 1, 2) if interface.layout == "NCHW" else values
    kind = INPUT_TYPES[interface.type]
    # As ONNX's Cast does: towards zero.
    return np.ascontiguousarray(ordered).astype(kind)


def _layout(graph: onnx.GraphProto, image: str, shape: list[int | None]) -> Layout | None:
    """The order of dimensions; None if it is neither of the two."""
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first != last:
        return "NCHW" if first else "NHWC"
    if first or (shape[1] is None and _convolved_channels(graph, image) in (1, 3)):
        # ONNX's own convolution takes channels first.
        return "NCHW"
    return None


def _convolved_channels(graph: onnx.GraphProto, image: str) -> int | None:
    """The input channels of the first convolution, if nothing in front of it moves the dimensions."""
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    current = image
    for node in graph.node:
        if current not in node.input:
            continue
        if node.op_type == "Conv":
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            kernel = weights.get(node.input[1], [])
            return kernel[1] * groups if len(kernel) == 4 else None
        if node.op_type not in {*SCALING, "Cast", "Identity"}:
            return None
        current = node.output[0]
    return None


def _dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    """The sizes; None for one that the file leaves open."""
    return [
        dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else None
        for dimension in value.type.tensor_type.shape.dim
    ]


def _shape_text(value: onnx.ValueInfoProto) -> str:
    sizes = ["any" if size is None else str(size) for size in _dimensions(value)]
    return f"{_type_name(value)} [{', '.join(sizes)}]"


def _type_name(value: onnx.ValueInfoProto) -> str:
    number = value.type.tensor_type.elem_type
    return TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else "?"
