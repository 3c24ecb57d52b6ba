"""Assembles the served graph of an imported network: scaling of pixels, the network, its head."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pipeline.model_files.model_file import OUTPUTS, VALUES, Head, Scaling
from pipeline.onnx.keras_to_onnx import INPUT, OUTPUT, canonicalise

# Added to the names of the nodes and values around the network.
PREFIX = "goldfish_"


def assemble(network: bytes, scaling: Scaling, reverse_channels: bool, head: Head) -> bytes:
    """The served graph, `image` uint8 [N,H,W,C] to `probabilities` float32 [N,K].

    `network` maps `values` float32 [N,H,W,C] to `outputs` float32 [N,K]. The result
    depends on the arguments alone, to the byte.
    """
    model = onnx.load_from_string(network)
    graph = model.graph
    shape = [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim[1:]]
    columns = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    nodes, constants = _scaling_nodes(scaling, reverse_channels)
    after, more, classes = _head_nodes(head, columns)
    nodes += [*graph.node, *after]
    assembled = helper.make_graph(
        nodes,
        "goldfish",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["batch", *shape])],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", classes])],
        [*constants, *graph.initializer, *more],
    )
    result = helper.make_model(assembled, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(canonicalise(result).SerializeToString(deterministic=True))


def head_probabilities(outputs: np.ndarray, head: Head) -> np.ndarray:
    """The same head in NumPy: float32 [N,columns] to probabilities float32 [N,K]."""
    if head == "softmax":
        return outputs
    if head == "logits":
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)
    # The logistic function by tanh, which does not overflow.
    second = outputs if head == "sigmoid" else (1 + np.tanh(outputs.astype(np.float64) / 2)) / 2
    return np.concatenate([1 - second, second], axis=1).astype(np.float32)


def scale_pixels(pixels: np.ndarray, scaling: Scaling, reverse_channels: bool) -> np.ndarray:
    """The same scaling in NumPy: uint8 [N,H,W,C] to float32 [N,H,W,C]."""
    ordered = pixels[..., ::-1] if reverse_channels else pixels
    factor, offset = (np.asarray(values, np.float32) for values in (scaling.factor, scaling.offset))
    return np.asarray(ordered.astype(np.float32) * factor + offset, dtype=np.float32)


def _scaling_nodes(
    scaling: Scaling, reverse_channels: bool
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes from `image` to `values`; steps that change nothing are left out."""
    steps: list[tuple[str, list[onnx.TensorProto], dict[str, int]]] = [
        ("Cast", [], {"to": int(onnx.TensorProto.FLOAT)})
    ]
    if reverse_channels:
        steps.append(("Gather", [_constant("order", np.array([2, 1, 0], np.int64))], {"axis": 3}))
    if any(factor != 1 for factor in scaling.factor):
        steps.append(("Mul", [_constant("factor", np.array(scaling.factor, np.float32))], {}))
    if any(offset != 0 for offset in scaling.offset):
        steps.append(("Add", [_constant("offset", np.array(scaling.offset, np.float32))], {}))
    names = [INPUT, *(f"{PREFIX}scaled_{index}" for index in range(1, len(steps))), VALUES]
    nodes = [
        helper.make_node(
            operator, [names[index], *(tensor.name for tensor in tensors)], [names[index + 1]], **options
        )
        for index, (operator, tensors, options) in enumerate(steps)
    ]
    return nodes, [tensor for _, tensors, _ in steps for tensor in tensors]


def _head_nodes(head: Head, columns: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], int]:
    """Nodes from `outputs` to `probabilities`, their constants, and the number of classes."""
    if head == "softmax":
        return [helper.make_node("Identity", [OUTPUTS], [OUTPUT])], [], columns
    if head == "logits":
        return [helper.make_node("Softmax", [OUTPUTS], [OUTPUT], axis=1)], [], columns
    second, first = f"{PREFIX}second", f"{PREFIX}first"
    one = _constant("one", np.ones(1, np.float32))
    nodes = [
        helper.make_node("Identity" if head == "sigmoid" else "Sigmoid", [OUTPUTS], [second]),
        helper.make_node("Sub", [one.name, second], [first]),
        helper.make_node("Concat", [first, second], [OUTPUT], axis=1),
    ]
    return nodes, [one], 2


def _constant(name: str, values: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(values, f"{PREFIX}{name}")
