"""Wraps an ONNX graph in nodes that take pixels [N,H,W,C] in float32 and any number of images."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.model_files.onnx_interface import Interface


def wrap(
    model: onnx.ModelProto, interface: Interface, height: int, width: int, columns: int
) -> onnx.ModelProto:
    """The graph with nodes before and after it, from `values` [N,H,W,C] to `outputs` [N,K]."""
    wrapped = onnx.ModelProto()
    wrapped.CopyFrom(model)
    graph = wrapped.graph
    _compute_in_float32(graph)
    prefix = _unused_prefix(graph)
    before, after, constants = [], [], []
    name = f"{prefix}values"
    if interface.layout == "NCHW":
        before.append(helper.make_node("Transpose", [name], [f"{prefix}first"], perm=[0, 3, 1, 2]))
        name = f"{prefix}first"
    if interface.type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        before.append(helper.make_node("Cast", [name], [f"{prefix}cast"], to=interface.type))
        name = f"{prefix}cast"
    # Always there, so that the graph's own name for its input stays.
    before.append(helper.make_node("Identity", [name], [interface.image]))
    constants.append(numpy_helper.from_array(np.array([-1, columns], np.int64), f"{prefix}shape"))
    after.append(helper.make_node("Cast", [interface.output], [f"{prefix}float"], to=TensorProto.FLOAT))
    after.append(helper.make_node("Reshape", [f"{prefix}float", f"{prefix}shape"], [f"{prefix}outputs"]))
    if interface.batch is not None:
        _free_batch(graph, interface.batch)
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    shape = ["batch", height, width, interface.channels]
    graph.input.append(helper.make_tensor_value_info(f"{prefix}values", TensorProto.FLOAT, shape))
    graph.output.append(
        helper.make_tensor_value_info(f"{prefix}outputs", TensorProto.FLOAT, ["batch", columns])
    )
    return _without_identities(wrapped)


def _compute_in_float32(graph: onnx.GraphProto) -> None:
    """Makes float16 constants and casts float32, as the CPU computes in it anyway."""
    tensors = [*graph.initializer, *(attribute.t for node in graph.node for attribute in node.attribute)]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT


def _unused_prefix(graph: onnx.GraphProto) -> str:
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = "goldfish_"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _free_batch(graph: onnx.GraphProto, batch: int) -> None:
    """Makes constant shapes that begin with the number of images take any number."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    owners = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            owners[node.output[0]] = node.attribute[0].t
    for name in shapes & owners.keys():
        values = numpy_helper.to_array(owners[name])
        if values.ndim == 1 and len(values) > 1 and values[0] == batch and -1 not in values:
            changed = numpy_helper.from_array(np.concatenate([[-1], values[1:]]).astype(np.int64), name)
            owners[name].CopyFrom(changed)


def _without_identities(model: onnx.ModelProto) -> onnx.ModelProto:
    """Lets consumers of an Identity use its input. The checker wants no value without a use."""
    graph = model.graph
    same: dict[str, str] = {}
    kept = []
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        node.input[:] = inputs
        if node.op_type == "Identity" and node.output[0] not in outputs:
            same[node.output[0]] = inputs[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model
