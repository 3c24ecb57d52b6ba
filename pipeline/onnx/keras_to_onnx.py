"""Exports a Keras model as an ONNX file whose bytes depend on the model alone.

The exporter numbers nodes with counters that continue from one export to the next, and sorts nodes by these
names. The graph is therefore rewritten from its output backwards, so that only its structure determines the
order. For layers of one pixel, one export of 36 had an additional no-op Reshape; these are removed.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from pipeline.network.backend import keras
from pipeline.onnx.folded_normalisation import fold_normalisation

# Names of the graph's input and output, for the predictor and for every protocol.
INPUT, OUTPUT = "image", "probabilities"
# The newest opset that the exporter, tf2onnx 1.17, was tested with.
OPSET = 18


def to_bytes(model: Any) -> bytes:  # noqa: ANN401
    """Exports a Keras model with one input and one output; opset 18, float32, batches of any size."""
    with TemporaryDirectory(prefix="goldfish-") as folder, warnings.catch_warnings():
        # tf2onnx uses deprecated NumPy names; Keras works around that.
        warnings.simplefilter("ignore", FutureWarning)
        path = Path(folder) / "model.onnx"
        signature = [keras.InputSpec("uint8", model.input_shape, name=INPUT)]
        fold_normalisation(model).export(
            path, format="onnx", verbose=False, opset_version=OPSET, input_signature=signature
        )
        return bytes(canonicalise(onnx.load(path)).SerializeToString(deterministic=True))


def canonicalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites a graph with nodes in a canonical topological order and values numbered in that order."""
    graph = _without_no_op_reshapes(model)
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    for node in _topological_order(graph):
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(_rename_tensor(constants[name], names[name]))
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
    inputs = [_graph_value(graph.input[0], INPUT)]
    outputs = [_graph_value(graph.output[0], OUTPUT)]
    rewritten = onnx.helper.make_graph(nodes, "goldfish", inputs, outputs, used)
    opsets = [
        onnx.helper.make_opsetid(entry.domain, entry.version)
        for entry in model.opset_import
        if not entry.domain
    ]
    result = onnx.helper.make_model(
        rewritten, opset_imports=opsets, ir_version=model.ir_version, producer_name="goldfish"
    )
    onnx.checker.check_model(result, full_check=True)
    return result


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


def _rename_tensor(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name, copy.doc_string = name, ""
    return copy


def _graph_value(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    tensor_type = value.type.tensor_type
    shape = ["batch", *(dimension.dim_value for dimension in tensor_type.shape.dim[1:])]
    return onnx.helper.make_tensor_value_info(name, tensor_type.elem_type, shape)
