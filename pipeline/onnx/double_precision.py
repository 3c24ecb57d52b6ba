"""Rewrites a float32 graph to compute in float64, for calibration.

ONNX Runtime has no convolution in float64, so each one becomes a sum over the positions of its kernel: a
slice of the input, times the weights at this position. All other operators are kept; those that ONNX Runtime
does not have in float64 make it refuse the graph.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# The spatial axes of an image [N,C,H,W].
AXES = (2, 3)


class GraphUnsuited(Exception):
    """An operator has a form that is not rewritten; the graph is then calibrated in float32."""


def to_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with the same names whose float32 values are float64. Raises `GraphUnsuited`."""
    shapes = _shapes(model)
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {
        name: value.astype(np.float64) if value.dtype == np.float32 else value
        for name, value in weights.items()
    }
    for node in graph.node:
        if node.op_type == "Conv":
            nodes += _Convolution(node, weights, shapes).nodes(constants)
        else:
            nodes.append(_in_double(node))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    rewritten = helper.make_graph(nodes, graph.name, graph.input, graph.output, initializers)
    return helper.make_model(rewritten, opset_imports=model.opset_import, ir_version=model.ir_version)


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of each value; 0 for a size that is not fixed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


def _in_double(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(attribute.t).astype(np.float64)
            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))
    return copy


def with_double_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose last node, if it is a softmax, computes in float64, and returns float32.

    The sums before it are integers in an 8-bit graph, so all CPUs give the same probabilities, to the bit.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    last = result.graph.node[-1]
    if last.op_type != "Softmax" or last.output[0] != result.graph.output[0].name:
        return result
    source, target = last.input[0], last.output[0]
    last.input[0], last.output[0] = f"{target}.logits", f"{target}.double"
    softmax = result.graph.node.pop()
    result.graph.node.extend(
        [
            helper.make_node("Cast", [source], [f"{target}.logits"], to=TensorProto.DOUBLE),
            softmax,
            helper.make_node("Cast", [f"{target}.double"], [target], to=TensorProto.FLOAT),
        ]
    )
    return result


class _Convolution:
    """A convolution of images [N,C,H,W] with fixed sizes, for all channels or for each channel."""

    def __init__(
        self, node: onnx.NodeProto, weights: dict[str, npt.NDArray[Any]], shapes: dict[str, list[int]]
    ) -> None:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        self.source, self.target = node.input[0], node.output[0]
        if node.input[1] not in weights or len(shapes.get(self.source, ())) != 4:
            raise GraphUnsuited
        self.kernel = weights[node.input[1]].astype(np.float64)
        self.bias = node.input[2] if len(node.input) > 2 else None
        channels, *size = shapes[self.source][1:]
        outputs, per_group, *kernel = self.kernel.shape
        group = given.get("group", 1)
        self.depthwise = group > 1
        fixed = channels > 0 and min(size) > 0 and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        if not fixed or (self.depthwise and not (group == channels == outputs and per_group == 1)):
            raise GraphUnsuited
        self.pads = list(given.get("pads", [0, 0, 0, 0]))
        self.strides = list(given.get("strides", [1, 1]))
        self.dilations = list(given.get("dilations", [1, 1]))
        self.size = [
            (
                size[axis]
                + self.pads[axis]
                + self.pads[axis + 2]
                - self.dilations[axis] * (kernel[axis] - 1)
                - 1
            )
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        ]

    def nodes(self, constants: dict[str, npt.NDArray[Any]]) -> Iterator[onnx.NodeProto]:
        """The nodes that replace it; adds their constants."""

        def constant(name: str, value: Any) -> str:  # noqa: ANN401
            constants[f"{self.target}.{name}"] = np.asarray(value)
            return f"{self.target}.{name}"

        source = self.source
        if any(self.pads):
            begin, end = [0, 0, *self.pads[:2]], [0, 0, *self.pads[2:]]
            yield helper.make_node(
                "Pad", [source, constant("pads", [*begin, *end])], [f"{self.target}.padded"]
            )
            source = f"{self.target}.padded"
        total = None
        for row, column in np.ndindex(*self.kernel.shape[2:]):
            name = f"{self.target}.{row}.{column}"
            starts = [row * self.dilations[0], column * self.dilations[1]]
            spans = [(size - 1) * step + 1 for size, step in zip(self.size, self.strides, strict=True)]
            ends = [start + span for start, span in zip(starts, spans, strict=True)]
            slicing = (("starts", starts), ("ends", ends), ("axes", AXES), ("steps", self.strides))
            inputs = [constant(f"{row}.{column}.{key}", value) for key, value in slicing]
            yield helper.make_node("Slice", [source, *inputs], [f"{name}.slice"])
            yield from self._product(name, self.kernel[:, :, row, column], constant)
            if total is None:
                total = f"{name}.product"
            else:
                yield helper.make_node("Add", [total, f"{name}.product"], [f"{name}.sum"])
                total = f"{name}.sum"
        yield from self._result(str(total), constant)

    def _product(self, name: str, weights: npt.NDArray[Any], constant: Any) -> Iterator[onnx.NodeProto]:  # noqa: ANN401
        """Times the weights [outputs, channels]: per channel, or as a product of matrices."""
        if self.depthwise:
            factor = constant(f"{name}.weights", weights.reshape(1, -1, 1, 1))
            yield helper.make_node("Mul", [f"{name}.slice", factor], [f"{name}.product"])
            return
        flat = constant("flat", np.array([0, 0, -1]))
        yield helper.make_node("Reshape", [f"{name}.slice", flat], [f"{name}.flat"])
        matrix = constant(f"{name}.weights", weights)
        yield helper.make_node("MatMul", [matrix, f"{name}.flat"], [f"{name}.product"])

    def _result(self, total: str, constant: Any) -> Iterator[onnx.NodeProto]:  # noqa: ANN401
        """Gives the sum the shape of an image, and adds the bias."""
        if not self.depthwise:
            shape = constant("shape", np.array([0, self.kernel.shape[0], *self.size]))
            yield helper.make_node("Reshape", [total, shape], [f"{self.target}.image"])
            total = f"{self.target}.image"
        if self.bias is None:
            yield helper.make_node("Identity", [total], [self.target])
            return
        column = constant("column", np.array([1, -1, 1, 1]))
        yield helper.make_node("Reshape", [self.bias, column], [f"{self.target}.bias"])
        yield helper.make_node("Add", [total, f"{self.target}.bias"], [self.target])
