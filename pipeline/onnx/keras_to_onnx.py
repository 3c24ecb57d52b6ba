"""Exports a Keras model as an ONNX file whose bytes depend on the model alone.

The exporter numbers nodes with counters that continue from one export to the next, and sorts nodes by these
names. The graph is therefore rewritten from its output backwards, so that only its structure determines the
order. For layers of one pixel, one export of 36 had an additional no-op Reshape; these are removed.
"""

import math
from typing import Any

import onnx

from pipeline.onnx import tensorflow_graph
from pipeline.onnx.folded_normalisation import fold_normalisation

# Names of the graph's input and output, for the predictor and for every protocol.
INPUT, OUTPUT = "image", "probabilities"
# The newest opset that the exporter, tf2onnx 1.17, was tested with.
OPSET = 18
# Constants from this size on are not copied more often than necessary.
LARGE_BYTES = 2**20


def to_bytes(
    model: Any,  # noqa: ANN401
    source: str = INPUT,
    dtype: str = "uint8",
    target: str = OUTPUT,
) -> bytes:
    """Exports a Keras model with one input and one output; opset 18, float32, batches of any size.

    `source`, of type `dtype`, and `target` are the names of the graph's input and output.
    Raises `NetworkNotConvertible`.
    """
    converted = tensorflow_graph.convert(fold_normalisation(model), source, dtype, OPSET)
    return bytes(canonicalise(converted, source, target).SerializeToString(deterministic=True))


def canonicalise(model: onnx.ModelProto, source: str = INPUT, target: str = OUTPUT) -> onnx.ModelProto:
    """Rewrites a graph with nodes in a canonical topological order and values numbered in that order.

    Its first input is renamed to `source`, its first output to `target`. Large constants are moved, not
    copied: `model` loses them.
    """
    large = _take_large_constants(model.graph)
    graph = _without_no_op_reshapes(model)
    names = {graph.input[0].name: source, graph.output[0].name: target}
    constants = {tensor.name: tensor for tensor in (*graph.initializer, *large)}
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    for node in _topological_order(graph):
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(constants[name])
        for name in node.output:
            names.setdefault(name, f"value_{len(names)}")
        fresh = onnx.helper.make_node(
            node.op_type,
            [names[name] if name else "" for name in node.input],
            [names[name] for name in node.output],
            name=f"{node.op_type}_{len(nodes)}",
            domain=node.domain,
        )
        fresh.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        nodes.append(fresh)
    opsets = [
        onnx.helper.make_opsetid(entry.domain, entry.version)
        for entry in model.opset_import
        if not entry.domain
    ]
    result = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "goldfish", [_graph_value(graph.input[0], source)], [_graph_value(graph.output[0], target)]
        ),
        opset_imports=opsets,
        ir_version=model.ir_version,
        producer_name="goldfish",
    )
    for tensor in used:
        tensor.name, tensor.doc_string = names[tensor.name], ""
    _check(result, used)
    result.graph.initializer.extend(used)
    return result


def _take_large_constants(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Removes them from the graph, because shape inference and the checker copy a graph several times."""
    places = [place for place, tensor in enumerate(graph.initializer) if _is_large(tensor)]
    taken = [graph.initializer[place] for place in places]
    for place in reversed(places):
        del graph.initializer[place]
    return taken


def _is_large(tensor: onnx.TensorProto) -> bool:
    # Constants with values in typed fields are small; reading `raw_data` of others would copy it.
    return bool(tensor.HasField("raw_data")) and 4 * math.prod(tensor.dims) >= LARGE_BYTES


def _check(model: onnx.ModelProto, constants: list[onnx.TensorProto]) -> None:
    """Raises onnx's `ValidationError` or `InferenceError` for a graph that is wrong.

    In the copy that is checked, large constants are inputs of the same shape.
    """
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for tensor in constants:
        if _is_large(tensor):
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            checked.graph.input.append(value)
        else:
            checked.graph.initializer.append(tensor)
    onnx.checker.check_model(checked, full_check=True)


def _without_no_op_reshapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """A copy of the graph in which consumers of a Reshape to the same shape use its input instead."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    integers = (tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64)
    targets = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in integers}
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info
    }
    for node in graph.node:
        # [-1, C, H, W] from [batch, C, H, W]; an unknown size is 0.
        shape = shapes.get(node.input[0], []) if node.op_type == "Reshape" else []
        if len(shape) > 1 and all(shape[1:]) and targets.get(node.input[1]) == [-1, *shape[1:]]:
            for consumer in graph.node:
                consumer.input[:] = [
                    node.input[0] if name == node.output[0] else name for name in consumer.input
                ]
    return graph


def _topological_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, each after its own inputs, which are visited in order."""
    producer = {name: node for node in graph.node for name in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[str] = set()
    # A stack, because a deep network would exceed Python's recursion limit. The flag is set once the inputs
    # of a value's node are done.
    stack = [(graph.output[0].name, False)]
    while stack:
        value, ready = stack.pop()
        node = producer.get(value)
        if node is None or node.output[0] in done:
            continue
        if ready:
            done.add(node.output[0])
            ordered.append(node)
        else:
            stack.append((value, True))
            stack += [(name, False) for name in reversed(node.input)]
    return ordered


def _graph_value(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    tensor_type = value.type.tensor_type
    shape = ["batch", *(dimension.dim_value for dimension in tensor_type.shape.dim[1:])]
    return onnx.helper.make_tensor_value_info(name, tensor_type.elem_type, shape)
