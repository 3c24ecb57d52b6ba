"""Traces a Keras model as a TensorFlow graph and converts that to ONNX with tf2onnx.

`Model.export` does the same, but with these faults (Keras 3.15.1, tf2onnx 1.17):
- A convolution with groups, as in ConvNeXt, stays a call of a function that is compiled by XLA, which ONNX
  does not have. Here nested functions are traced into the graph of their caller.
- Constants that are no variables, such as the statistics of Normalization, become inputs of the graph.
- Layer normalisation of maps of one pixel gives wrong values.
- Weights are copied dozens of times: VGG16, with 553 MB of weights, took more than 12 GB. Here the kernels of
  large dense layers, which the conversion never changes, are inputs of the converted graph, and become
  constants after it; and the steps of tf2onnx's optimiser write no messages.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# First, because it configures TensorFlow before anything loads it.
from pipeline.network.backend import tf

# isort: split
import numpy as np
import onnx
from keras.src.export.tf2onnx_lib import patch_tf2onnx
from tf2onnx import optimizer, tf_loader
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer
from tf2onnx.tfonnx import process_tf_graph

from pipeline.errors import NetworkNotConvertible

# From this size on, a matrix is kept out of the conversion.
LARGE_BYTES = 2**24


def convert(model: Any, image: str, dtype: str, opset: int) -> onnx.ModelProto:  # noqa: ANN401
    """Converts a Keras model with one input, [N,H,W,C] of `dtype`, and one output, in inference mode.

    The input of the graph is called `image`; other names, and the order of nodes, are tf2onnx's.
    """
    large = [variable for variable in model.variables if _is_large_matrix(variable)]
    signature = [tf.TensorSpec(model.input_shape, dtype, name=image)]
    signature += [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"weights_{number}")
        for number, variable in enumerate(large)
    ]

    def infer(pixels: Any, *matrices: Any) -> Any:  # noqa: ANN401
        values = {id(variable): matrix for variable, matrix in zip(large, matrices, strict=True)}
        trainable, others = (
            [values.get(id(variable), variable) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        # Without `training=False`, a Resizing layer in front of BatchNorm would put that into training mode.
        return model.stateless_call(trainable, others, pixels, training=False)[0]

    with _nested_functions_inlined(), warnings.catch_warnings():
        # tf2onnx uses deprecated NumPy names; Keras works around that.
        warnings.simplefilter("ignore", FutureWarning)
        function = tf.function(infer, input_signature=signature, autograph=False)
        graph = _to_onnx(function, len(signature), opset)
    _check_operators(graph)
    # tf2onnx's graphs refer to themselves, so their copies of the weights stay until a collection.
    gc.collect()
    inputs = {value.name: value for value in graph.graph.input}
    for number, variable in enumerate(large):
        name = f"weights_{number}"
        # A kernel of a layer that the output does not depend on has no input.
        if name in inputs:
            graph.graph.input.remove(inputs[name])
            matrix = onnx.TensorProto(name=name, dims=variable.shape, data_type=onnx.TensorProto.FLOAT)
            tensor = graph.graph.initializer.add()
            tensor.CopyFrom(matrix)
            tensor.raw_data = np.asarray(variable, dtype="<f4").tobytes()
    return graph


def convert_function(
    function: Callable[[Any], Any], shape: tuple[int | None, ...], image: str, dtype: str, opset: int
) -> onnx.ModelProto:
    """Converts a function of one tensor of this shape and type that calls TensorFlow; as `convert` does."""
    signature = [tf.TensorSpec(shape, dtype, name=image)]
    with _nested_functions_inlined(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced = tf.function(function, input_signature=signature, autograph=False)
        graph = _to_onnx(traced, len(signature), opset)
    _check_operators(graph)
    gc.collect()
    return graph


def _to_onnx(function: Any, arguments: int, opset: int) -> onnx.ModelProto:  # noqa: ANN401
    """Like `tf2onnx.convert.from_function`, which takes constants that the function captures for inputs."""
    patch_tf2onnx()
    concrete = function.get_concrete_function()
    inputs = [tensor.name for tensor in concrete.inputs[:arguments]]
    outputs = [tensor.name for tensor in concrete.outputs]
    frozen = tf_loader.from_function(concrete, inputs, outputs)
    try:
        return _convert_frozen(frozen, inputs, outputs, opset, catch_errors=False)
    # A step of tf2onnx's optimiser can raise anything. With this flag a step that fails is left out, but each
    # one copies the graph with all weights.
    except Exception:  # noqa: BLE001
        return _convert_frozen(frozen, inputs, outputs, opset, catch_errors=True)


def _convert_frozen(
    frozen: Any,  # noqa: ANN401
    inputs: list[str],
    outputs: list[str],
    opset: int,
    catch_errors: bool,
) -> onnx.ModelProto:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        converted = process_tf_graph(
            graph,
            opset=opset,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename={name: name.removesuffix(":0") for name in inputs},
            custom_op_handlers={"Erfc": (_replace_erfc, [])},
        )
    steps = optimizer._get_optimizers() | {"optimize_transpose": _TransposeOptimizer}
    # It would write all nodes as protobuf messages after each step, which keep the memory of what they held.
    converted.update_proto = lambda *_: None
    optimized = optimizer.optimize_graph(converted, catch_errors, steps)
    del optimized.update_proto
    return optimized.make_model("goldfish")


class _TransposeOptimizer(TransposeOptimizer):  # type: ignore[misc]
    def post_optimize_action(self) -> None:
        """Does nothing. tf2onnx's own would replace transpositions of maps of one pixel by reshaping.

        It takes the wrong shape for some: layer normalisation of such a map gave values that were thousands
        of times too large.
        """


def _replace_erfc(graph: Any, node: Any, _name: str, _arguments: list[str]) -> None:  # noqa: ANN401
    """Replaces `erfc(x)` of `tf.nn.gelu`, which ONNX does not have, by `1 - erf(x)`."""
    kind = {"shapes": [graph.get_shape(node.output[0])], "dtypes": [graph.get_dtype(node.output[0])]}
    one = graph.make_const(f"{node.name}_one", np.ones((), np.float32)).output[0]
    erf = graph.make_node("Erf", node.input, **kind).output[0]
    graph.remove_node(node.name)
    graph.make_node("Sub", [one, erf], outputs=node.output, **kind)


def _check_operators(model: onnx.ModelProto) -> None:
    """Raises `NetworkNotConvertible` for operators that tf2onnx left as TensorFlow's."""
    unknown = {
        node.op_type for node in model.graph.node if not node.domain and not onnx.defs.has(node.op_type)
    }
    if unknown:
        raise NetworkNotConvertible(sorted(unknown))


def _is_large_matrix(variable: Any) -> bool:  # noqa: ANN401
    return len(variable.shape) == 2 and 4 * int(np.prod(variable.shape)) >= LARGE_BYTES


@contextmanager
def _nested_functions_inlined() -> Iterator[None]:
    """Functions that are called while another is traced become part of it; `jit_compile` has no effect."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
