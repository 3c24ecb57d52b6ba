"""The last layers of a graph, followed backwards from its probabilities: softmax, dense layer, pooling."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pipeline.onnx.keras_to_onnx import OUTPUT

Array = npt.NDArray[Any]

# The constant that logits are divided by in a calibrated graph.
TEMPERATURE = "temperature"
# Operators between pooling and dense layer that change no value: of four sides, two are 1 there.
RESHAPING = ("Flatten", "Reshape", "Squeeze", "Transpose", "Identity", "Dropout")
# Operators that change the number format alone.
CONVERTING = ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity")


class DenseLayer(NamedTuple):
    """The last dense layer: kernel [F,K], bias [K], its input `source`, and its nodes.

    `first` takes the input, before it is quantised in an 8-bit graph; `last` gives the logits.
    """

    source: str
    kernel: Array
    bias: Array
    first: onnx.NodeProto
    last: onnx.NodeProto


class Pooling(NamedTuple):
    """The input of a global average pooling, [N,F,h,w] if `channels_first`, else [N,h,w,F]."""

    source: str
    channels_first: bool


class GraphTail:
    """Finds the last layers; a graph may end in other ones, then there is None."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producers = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        # The softmax that gives the probabilities, perhaps in front of a cast or of an identity.
        node = self._before(OUTPUT, ("Cast", "Identity"))
        self.softmax = node if node is not None and node.op_type == "Softmax" else None

    @property
    def logits(self) -> str | None:
        """The name of the logits, before the temperature and before a cast to float64."""
        if self.softmax is None:
            return None
        name = str(self.softmax.input[0])
        while (node := self.producers.get(name)) is not None and (
            node.op_type == "Cast" or (node.op_type == "Div" and node.input[1] == TEMPERATURE)
        ):
            name = str(node.input[0])
        return name

    def find_dense_layer(self) -> DenseLayer | None:
        """The dense layer that gives the logits: Gemm, or MatMul with constant weights and perhaps Add."""
        node = None if self.logits is None else self._before(self.logits, CONVERTING)
        if node is None:
            return None
        return self._gemm(node) if node.op_type == "Gemm" else self._matmul(node)

    def find_pooling(self, name: str) -> Pooling | None:
        """The global average pooling whose values, without the places, are `name`."""
        node = self._before(name, (*CONVERTING, *RESHAPING))
        if node is None:
            return None
        if node.op_type == "GlobalAveragePool":
            return Pooling(node.input[0], channels_first=True)
        if node.op_type != "ReduceMean":
            return None
        axes = sorted(axis % 4 for axis in self._axes(node))
        return Pooling(node.input[0], axes == [2, 3]) if axes in ([1, 2], [2, 3]) else None

    def _before(self, name: str, skipped: tuple[str, ...]) -> onnx.NodeProto | None:
        """The node that gives a value, before nodes of the `skipped` operators."""
        node = self.producers.get(name)
        while node is not None and node.op_type in skipped:
            node = self.producers.get(node.input[0])
        return node

    def _axes(self, node: onnx.NodeProto) -> list[int]:
        for attribute in node.attribute:
            if attribute.name == "axes":
                return list(attribute.ints)
        constant = self._constant(node.input[1]) if len(node.input) > 1 else None
        return [] if constant is None else [int(axis) for axis in constant.ravel()]

    def _gemm(self, node: onnx.NodeProto) -> DenseLayer | None:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        kernel = self._constant(node.input[1])
        if kernel is None or settings.get("transA") or kernel.ndim != 2:
            return None
        kernel = settings.get("alpha", 1.0) * (kernel.T if settings.get("transB") else kernel)
        bias = self._constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
        return None if bias is None else self._layer(node, node, kernel, settings.get("beta", 1.0) * bias)

    def _matmul(self, node: onnx.NodeProto) -> DenseLayer | None:
        last, bias = node, np.zeros(1, np.float32)
        if node.op_type == "Add":
            sides = [(value, self._constant(other)) for value, other in (node.input, reversed(node.input))]
            name, added = next((side for side in sides if side[1] is not None), ("", None))
            before = self._before(name, CONVERTING)
            if added is None or before is None:
                return None
            node, bias = before, added
        kernel = self._constant(node.input[1]) if node.op_type == "MatMul" else None
        return None if kernel is None or kernel.ndim != 2 else self._layer(node, last, kernel, bias)

    def _layer(
        self, first: onnx.NodeProto, last: onnx.NodeProto, kernel: Array, bias: Array
    ) -> DenseLayer | None:
        """The layer of these nodes. In an 8-bit graph it begins with the quantisation of its input."""
        node = self.producers.get(first.input[0])
        if node is not None and node.op_type == "DequantizeLinear":
            quantise = self.producers.get(node.input[0])
            first = quantise if quantise is not None and quantise.op_type == "QuantizeLinear" else first
        kernel, bias = np.asarray(kernel, np.float32), np.ravel(bias)
        if bias.size not in (1, kernel.shape[1]):
            return None
        full = np.broadcast_to(bias, kernel.shape[1]).astype(np.float32)
        return DenseLayer(str(first.input[0]), kernel, full, first, last)

    def _constant(self, name: str) -> Array | None:
        """The values of a constant; of 8-bit weights the numbers that they stand for."""
        if name in self.constants:
            return np.asarray(numpy_helper.to_array(self.constants[name]))
        node = self.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        if any(part not in self.constants for part in node.input):
            return None
        values = {part: numpy_helper.to_array(self.constants[part]) for part in node.input}
        (constant,) = ReferenceEvaluator(node).run(None, values)
        return np.asarray(constant)
