"""Puts a temperature in front of a served graph's softmax, and adds the energy of its logits as an output."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.onnx.graph_tail import TEMPERATURE, DenseLayer, GraphTail
from pipeline.onnx.keras_to_onnx import OUTPUT
from serving.artifact.manifest import ENERGY

LOGITS, HEAD_FEATURES = "calibration_logits", "calibration_features"
# From this version of the operators on, Split has an attribute for the number of its outputs, and reductions
# take their axes as an input. Imported graphs may have an older one.
NEW_ARGUMENTS = 18
# The smallest positive float32 with all its digits: the logarithm of a probability of 0 would be infinite.
TINY = float(np.finfo(np.float32).tiny)


def with_logits(graph: bytes) -> bytes:
    """The graph with more outputs: `calibration_logits` float32 [N,K], and `calibration_features` [N,F].

    For a graph that does not end in a softmax the logits are the logarithms of its probabilities, which have
    the same softmax. The features are the input of the last dense layer; without one there are none.
    """
    model = onnx.load_from_string(graph)
    tail = GraphTail(model.graph)
    logits, layer = tail.logits, tail.find_dense_layer()
    if logits is None:
        _extend(model.graph, *_log_probabilities(OUTPUT))
        logits = "log_probabilities"
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    sources = [(logits, LOGITS, classes)]
    if layer is not None:
        sources.append((layer.source, HEAD_FEATURES, len(layer.kernel)))
    for source, name, columns in sources:
        # They may have another type, as in a network of mixed precision.
        model.graph.node.append(helper.make_node("Cast", [source], [name], to=TensorProto.FLOAT))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]))
    return _to_bytes(model)


def measured_outputs(graph: bytes) -> list[str]:
    """The names of the outputs that `with_logits` adds to a graph: logits and, if it has them, features."""
    tail = GraphTail(onnx.load_from_string(graph).graph)
    return [LOGITS] if tail.find_dense_layer() is None else [LOGITS, HEAD_FEATURES]


def calibrate(graph: bytes, temperature: float, clip: float | None = None) -> bytes:
    """The served graph: probabilities are the softmax of logits / temperature, and there is an `energy` [N].

    The energy is that of the logits or, with `clip`, of those that the last dense layer gives for features of
    at most `clip`; it takes a dense layer then. A graph that does not end in a softmax has no energy.
    """
    model = onnx.load_from_string(graph)
    tail = GraphTail(model.graph)
    logits, layer = tail.logits, tail.find_dense_layer()
    opset = max(entry.version for entry in model.opset_import if not entry.domain)
    clipped = logits if clip is None or layer is None else _clip(model.graph, layer, clip, opset)
    if temperature != 1:
        _divide(model.graph, tail.softmax, temperature)
    if clipped is not None:
        _extend(model.graph, *_energy_nodes(clipped, opset))
        model.graph.output.append(helper.make_tensor_value_info(ENERGY, TensorProto.FLOAT, ["batch"]))
    return _to_bytes(model)


def has_energy(graph: bytes) -> bool:
    """Whether a calibrated graph has the output `energy`: one that did not end in a softmax has none."""
    return any(output.name == ENERGY for output in onnx.load_from_string(graph).graph.output)


def _log_probabilities(name: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        helper.make_node("Max", [name, "smallest_probability"], ["positive_probabilities"]),
        helper.make_node("Log", ["positive_probabilities"], ["log_probabilities"]),
    ]
    return nodes, [numpy_helper.from_array(np.array(TINY, np.float32), "smallest_probability")]


def _clip(graph: onnx.GraphProto, layer: DenseLayer, clip: float, opset: int) -> str:
    """Gives the layer a second batch, of clipped features; returns the name of the logits for these.

    One product with twice as many rows takes hardly longer than before: reading the weights takes the time.
    """
    (logits,) = layer.last.output
    nodes = [
        helper.make_node("Min", [layer.source, "clip"], ["clipped_features"]),
        helper.make_node("Concat", [layer.source, "clipped_features"], ["both_features"], axis=0),
    ]
    place = list(graph.node).index(layer.first)
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)
    layer.first.input[list(layer.first.input).index(layer.source)] = "both_features"
    layer.last.output[0] = "both_logits"
    halves = {"num_outputs": 2} if opset >= NEW_ARGUMENTS else {}
    split = helper.make_node("Split", ["both_logits"], [logits, "clipped_logits"], axis=0, **halves)
    graph.node.insert(list(graph.node).index(layer.last) + 1, split)
    graph.initializer.append(numpy_helper.from_array(np.array(clip, np.float32), "clip"))
    return "clipped_logits"


def _energy_nodes(logits: str, opset: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """In float64, as the softmax of an 8-bit graph, so that all CPUs give the same bits."""
    inputs, axes, constants = ["energy_logits"], {"axes": [1]}, []
    if opset >= NEW_ARGUMENTS:
        inputs, axes = ["energy_logits", "energy_axes"], {}
        constants = [numpy_helper.from_array(np.array([1], np.int64), "energy_axes")]
    nodes = [
        helper.make_node("Cast", [logits], ["energy_logits"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceLogSumExp", inputs, ["energy_double"], keepdims=0, **axes),
        helper.make_node("Cast", ["energy_double"], [ENERGY], to=TensorProto.FLOAT),
    ]
    return nodes, constants


def _divide(graph: onnx.GraphProto, softmax: onnx.NodeProto | None, temperature: float) -> None:
    """Puts a division in front of the softmax; without one, logarithm, division and softmax at the end."""
    if softmax is not None:
        place = list(graph.node).index(softmax)
        double = any(
            node.op_type == "Cast" and node.output[0] == softmax.input[0] and _casts_to_double(node)
            for node in graph.node
        )
        division = helper.make_node("Div", [softmax.input[0], TEMPERATURE], ["calibrated_logits"])
        softmax.input[0] = "calibrated_logits"
        graph.node.insert(place, division)
    else:
        double = False
        for node in graph.node:
            node.output[:] = ["uncalibrated" if name == OUTPUT else name for name in node.output]
        nodes, constants = _log_probabilities("uncalibrated")
        nodes += [
            helper.make_node("Div", ["log_probabilities", TEMPERATURE], ["calibrated_logits"]),
            helper.make_node("Softmax", ["calibrated_logits"], [OUTPUT], axis=1),
        ]
        _extend(graph, nodes, constants)
    value = np.array(temperature, np.float64 if double else np.float32)
    graph.initializer.append(numpy_helper.from_array(value, TEMPERATURE))


def _casts_to_double(cast: onnx.NodeProto) -> bool:
    return any(attribute.name == "to" and attribute.i == TensorProto.DOUBLE for attribute in cast.attribute)


def _extend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _to_bytes(model: onnx.ModelProto) -> bytes:
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return bytes(model.SerializeToString(deterministic=True))
