"""A Keras model as an ONNX file whose bytes depend on the model alone.

The exporter numbers its nodes by counters that go on from one export to the next, and sorts them by those
names. Here the graph is written anew from its output backwards, so only its structure decides the order.
Where layers have one pixel, one export of 36 had a Reshape more that changes nothing: such ones are dropped.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from pipeline.network.backend import keras

# What the graph's ends are called, for the predictor and for every protocol.
INPUT, OUTPUT = "image", "probabilities"
# The newest that the exporter was tested with (tf2onnx 1.17); it also fixes the meaning of each operator.
OPSET = 18


def to_bytes(model: Any) -> bytes:  # noqa: ANN401
    """Exports a Keras model with one input and one output; opset 18, float32, batches of any size."""
    with TemporaryDirectory(prefix="goldfish-") as folder, warnings.catch_warnings():
        # tf2onnx asks NumPy for names that NumPy has given up; Keras mends that a line later.
        warnings.simplefilter("ignore", FutureWarning)
        path = Path(folder) / "model.onnx"
        signature = [keras.InputSpec("uint8", model.input_shape, name=INPUT)]
        model.export(path, format="onnx", verbose=False, opset_version=OPSET, input_signature=signature)
        return bytes(canonical(onnx.load(path)).SerializeToString(deterministic=True))


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites a graph: nodes in the order of a walk from the output, values numbered in that order."""
    graph = _without_idle_reshapes(model)
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    for node in _walk(graph):
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(_renamed(constants[name], names[name]))
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
    rewritten = onnx.helper.make_graph(
        nodes, "goldfish", [_end(graph.input[0], INPUT)], [_end(graph.output[0], OUTPUT)], used
    )
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


def _without_idle_reshapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """A copy of the graph in which readers of a Reshape to the same shape read its input."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    integers = (tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64)
    targets = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in integers}
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info
    }
    for node in graph.node:
        # [-1, C, H, W] of [batch, C, H, W]; a size that is not known is 0.
        shape = shapes.get(node.input[0], []) if node.op_type == "Reshape" else []
        if len(shape) > 1 and all(shape[1:]) and targets.get(node.input[1]) == [-1, *shape[1:]]:
            for reader in graph.node:
                reader.input[:] = [node.input[0] if name == node.output[0] else name for name in reader.input]
    return graph


def _walk(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the output needs, each after those that it needs, inputs in their order."""
    maker = {name: node for node in graph.node for name in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[str] = set()
    # A stack, not recursion: a network may be deeper than Python's limit. True: its inputs are done.
    stack = [(graph.output[0].name, False)]
    while stack:
        value, ready = stack.pop()
        node = maker.get(value)
        if node is None or node.output[0] in done:
            continue
        if ready:
            done.add(node.output[0])
            ordered.append(node)
        else:
            stack.append((value, True))
            stack += [(name, False) for name in reversed(node.input)]
    return ordered


def _renamed(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name, copy.doc_string = name, ""
    return copy


def _end(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    kind = value.type.tensor_type
    shape = ["batch", *(dimension.dim_value for dimension in kind.shape.dim[1:])]
    return onnx.helper.make_tensor_value_info(name, kind.elem_type, shape)
