"""Puts a temperature in front of a served graph's softmax, and adds the energy of its logits as an output."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.onnx.keras_to_onnx import OUTPUT
from serving.artifact.manifest import ENERGY

LOGITS, TEMPERATURE = "calibration_logits", "temperature"
# The smallest positive float32 with all its digits: the logarithm of a probability of 0 would be infinite.
TINY = float(np.finfo(np.float32).tiny)


def with_logits(graph: bytes) -> bytes:
    """The graph with another output, `calibration_logits` float32 [N,K].

    For a graph that does not end in a softmax they are the logarithms of its probabilities, which have the
    same softmax.
    """
    model = onnx.load_from_string(graph)
    logits, nodes, constants = _logits(model.graph)
    nodes.append(helper.make_node("Identity", [logits], [LOGITS]))
    _extend(model.graph, nodes, constants)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes]))
    return _to_bytes(model)


def calibrate(graph: bytes, temperature: float) -> bytes:
    """The served graph: probabilities are the softmax of logits / temperature; `energy` [N] is of the logits.

    A graph that does not end in a softmax has no energy.
    """
    model = onnx.load_from_string(graph)
    softmax = find_softmax(model.graph)
    if softmax is not None:
        energy = _energy_nodes(find_logits(model.graph, softmax))
    if temperature != 1:
        _divide(model.graph, softmax, temperature)
    if softmax is not None:
        _extend(model.graph, *energy)
        model.graph.output.append(helper.make_tensor_value_info(ENERGY, TensorProto.FLOAT, ["batch"]))
    return _to_bytes(model)


def has_softmax(graph: bytes) -> bool:
    """Whether the graph ends in a softmax, so that it has logits and their energy."""
    return find_softmax(onnx.load_from_string(graph).graph) is not None


def find_softmax(graph: onnx.GraphProto) -> onnx.NodeProto | None:
    """The softmax that gives the probabilities, perhaps in front of a cast or of an identity."""
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(OUTPUT)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "Softmax" else None


def find_logits(graph: onnx.GraphProto, softmax: onnx.NodeProto) -> str:
    """The name of the logits, before the temperature and before a cast to float64."""
    producers = {output: node for node in graph.node for output in node.output}
    name = str(softmax.input[0])
    while (node := producers.get(name)) is not None and (
        node.op_type == "Cast" or (node.op_type == "Div" and node.input[1] == TEMPERATURE)
    ):
        name = str(node.input[0])
    return name


def _logits(graph: onnx.GraphProto) -> tuple[str, list[onnx.NodeProto], list[onnx.TensorProto]]:
    softmax = find_softmax(graph)
    if softmax is not None:
        return find_logits(graph, softmax), [], []
    nodes = [
        helper.make_node("Max", [OUTPUT, "smallest_probability"], ["positive_probabilities"]),
        helper.make_node("Log", ["positive_probabilities"], ["log_probabilities"]),
    ]
    tiny = numpy_helper.from_array(np.array(TINY, np.float32), "smallest_probability")
    return "log_probabilities", nodes, [tiny]


def _energy_nodes(logits: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """In float64, as the softmax of an 8-bit graph, so that all CPUs give the same bits."""
    nodes = [
        helper.make_node("Cast", [logits], ["energy_logits"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceLogSumExp", ["energy_logits", "energy_axes"], ["energy_double"], keepdims=0),
        helper.make_node("Cast", ["energy_double"], [ENERGY], to=TensorProto.FLOAT),
    ]
    return nodes, [numpy_helper.from_array(np.array([1], np.int64), "energy_axes")]


def _divide(graph: onnx.GraphProto, softmax: onnx.NodeProto | None, temperature: float) -> None:
    """Puts a division in front of the softmax; without one, logarithm, division and softmax at the end."""
    if softmax is not None:
        place = list(graph.node).index(softmax)
        double = any(node.op_type == "Cast" and node.output[0] == softmax.input[0] for node in graph.node)
        division = helper.make_node("Div", [softmax.input[0], TEMPERATURE], ["calibrated_logits"])
        softmax.input[0] = "calibrated_logits"
        graph.node.insert(place, division)
    else:
        double = False
        for node in graph.node:
            node.output[:] = ["uncalibrated" if name == OUTPUT else name for name in node.output]
        _extend(
            graph,
            [
                helper.make_node("Max", ["uncalibrated", "smallest_probability"], ["positive_probabilities"]),
                helper.make_node("Log", ["positive_probabilities"], ["log_probabilities"]),
                helper.make_node("Div", ["log_probabilities", TEMPERATURE], ["calibrated_logits"]),
                helper.make_node("Softmax", ["calibrated_logits"], [OUTPUT], axis=1),
            ],
            [numpy_helper.from_array(np.array(TINY, np.float32), "smallest_probability")],
        )
    value = np.array(temperature, np.float64 if double else np.float32)
    graph.initializer.append(numpy_helper.from_array(value, TEMPERATURE))


def _extend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _to_bytes(model: onnx.ModelProto) -> bytes:
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return bytes(model.SerializeToString(deterministic=True))
