"""Finds what class activation maps need in a served graph: features before the last pooling, and the head.

A network whose features [h,w,F] are averaged over all places and multiplied by the weights of one dense layer
has, as the logit of a class, the mean over all places of `features @ kernel`, plus the bias. The map of these
products is therefore exact. Source: Zhou et al., "Learning Deep Features for Discriminative Localization",
2016.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pipeline.onnx.calibrated_graph import LOGITS, find_logits, find_softmax, with_logits
from serving.artifact.head import Head
from serving.artifact.manifest import FEATURES
from serving.model.cpu_features import int8_may_saturate
from serving.model.decoder import Pixels
from serving.model.predictor import create_session

Array = npt.NDArray[Any]

# Operators between pooling and dense layer that change no value: of four sides, two are 1 there.
RESHAPING = ("Flatten", "Reshape", "Squeeze", "Transpose", "Identity", "Dropout")
# Operators that change the number format alone.
CONVERTING = ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity")


class ClassActivation(NamedTuple):
    """`addition`, appended to the graph's bytes, gives it the output `features` float32 [N,h,w,F]."""

    addition: bytes
    head: Head


def find_class_activation(graph: bytes) -> ClassActivation | None:
    """The parts of a graph that ends in global average pooling, a dense layer and a softmax; else `None`.

    The addition is a second message that has only what is new: two protobuf messages in a row are read as
    one, whose lists are joined.
    """
    model = onnx.load_from_string(graph)
    tail = _Tail(model.graph)
    head = tail.find_head()
    if head is None:
        return None
    pooling = tail.find_pooling(head.source)
    if pooling is None:
        return None
    return ClassActivation(_addition(tail, pooling), Head(head.kernel, head.bias))


class MapCheck(NamedTuple):
    """The number of places of a map, and by how much logits differ from what their maps add up to.

    The difference is a share of the range of the logits. Of an 8-bit graph it is the rounding of the
    averages.
    """

    places: int
    difference: float


def check_maps(graph: bytes, activation: ClassActivation, images: Pixels) -> MapCheck:
    """Compares the maps of images, uint8 [N,H,W,C], with their logits."""
    explained, plain = (
        create_session(data, 1, int8_may_saturate())
        for data in (graph + activation.addition, with_logits(graph))
    )
    head, places, largest = activation.head, 0, 0.0
    for image in images:
        (features,) = explained.run([FEATURES], {"image": image[np.newaxis]})
        (logits,) = plain.run([LOGITS], {"image": image[np.newaxis]})
        places = features.shape[1] * features.shape[2]
        added = features[0].mean(axis=(0, 1), dtype=np.float64) @ head.kernel + head.bias
        largest = max(largest, float(np.abs(added - logits[0]).max() / np.ptp(logits[0])))
    return MapCheck(places, largest)


class _Dense(NamedTuple):
    """A dense layer: the name of its input, kernel [F,K] and bias [K]."""

    source: str
    kernel: Array
    bias: Array


class _Pooling(NamedTuple):
    """The input of a global average pooling, [N,F,h,w] if `channels_first`, else [N,h,w,F]."""

    source: str
    channels_first: bool


class _Tail:
    """The last nodes of a graph, followed backwards from the softmax."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producers = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}

    def find_head(self) -> _Dense | None:
        """The dense layer that gives the logits."""
        softmax = find_softmax(self.graph)
        if softmax is None:
            return None
        node = self._before(find_logits(self.graph, softmax), CONVERTING)
        if node is None:
            return None
        return self._gemm(node) if node.op_type == "Gemm" else self._matmul(node)

    def find_pooling(self, name: str) -> _Pooling | None:
        """The global average pooling whose values, without the places, are `name`."""
        node = self._before(name, (*CONVERTING, *RESHAPING))
        if node is None:
            return None
        if node.op_type == "GlobalAveragePool":
            return _Pooling(node.input[0], channels_first=True)
        if node.op_type != "ReduceMean":
            return None
        axes = sorted(axis % 4 for axis in self._axes(node))
        return _Pooling(node.input[0], axes == [2, 3]) if axes in ([1, 2], [2, 3]) else None

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

    def _gemm(self, node: onnx.NodeProto) -> _Dense | None:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        kernel = self._constant(node.input[1])
        if kernel is None or settings.get("transA") or kernel.ndim != 2:
            return None
        kernel = settings.get("alpha", 1.0) * (kernel.T if settings.get("transB") else kernel)
        bias = self._constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
        if bias is None:
            return None
        return _dense(node.input[0], kernel, settings.get("beta", 1.0) * bias)

    def _matmul(self, node: onnx.NodeProto) -> _Dense | None:
        """A product with a constant, and perhaps a constant that is added."""
        bias: Array | None = np.zeros(1, np.float32)
        if node.op_type == "Add":
            sides = [(value, self._constant(other)) for value, other in (node.input, reversed(node.input))]
            name, bias = next((side for side in sides if side[1] is not None), ("", None))
            before = self._before(name, CONVERTING)
            if bias is None or before is None:
                return None
            node = before
        kernel = self._constant(node.input[1]) if node.op_type == "MatMul" else None
        if kernel is None or bias is None or kernel.ndim != 2:
            return None
        return _dense(node.input[0], kernel, bias)

    def _constant(self, name: str) -> Array | None:
        """The values of a constant; of 8-bit weights the numbers that they stand for."""
        if name in self.constants:
            return np.asarray(numpy_helper.to_array(self.constants[name]))
        node = self.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        inputs = {part: self.constants.get(part) for part in node.input}
        values = {
            part: numpy_helper.to_array(tensor) for part, tensor in inputs.items() if tensor is not None
        }
        if len(values) < len(inputs):
            return None
        (constant,) = ReferenceEvaluator(node).run(None, values)
        return np.asarray(constant)


def _dense(source: str, kernel: Array, bias: Array) -> _Dense:
    kernel = np.asarray(kernel, np.float32)
    return _Dense(source, kernel, np.broadcast_to(bias, kernel.shape[1]).astype(np.float32))


def _addition(tail: _Tail, pooling: _Pooling) -> bytes:
    """The message with the output `features`, and with the nodes from the pooling's input to it."""
    name, nodes = pooling.source, []
    node = tail.producers.get(name)
    if node is not None and node.op_type == "DequantizeLinear":
        # A node of its own: ONNX Runtime joins the other one with the pooling.
        nodes.append(helper.make_node("DequantizeLinear", node.input, ["features_dequantised"]))
        name = "features_dequantised"
    order = [0, 2, 3, 1] if pooling.channels_first else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", [name], [FEATURES], perm=order))
    added = onnx.ModelProto()
    added.graph.node.extend(nodes)
    shape = ["batch", None, None, None]
    added.graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, shape))
    return bytes(added.SerializeToString(deterministic=True))
