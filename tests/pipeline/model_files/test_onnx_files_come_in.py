"""ONNX files of other frameworks: layouts, types, batches, heads, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import ModelFileInvalid, ModelFileUnsafe, NetworkUnsuitable, PipelineError
from pipeline.model_files.model_file import Head
from pipeline.model_files.opening import open_model_file
from tests.pipeline.model_files.agreement import check_agreement, pixels

Build = Callable[..., onnx.ModelProto]
GENERATOR = np.random.default_rng(4)
KERNEL = GENERATOR.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
WEIGHTS = GENERATOR.normal(0, 0.3, (4, 5)).astype(np.float32)


def network(
    shape: tuple[object, ...] = ("batch", 3, 24, 20),
    last: str | None = None,
    columns: int = 5,
    reshape: list[int] | None = None,
    opset: int = 18,
    kind: type[np.floating] = np.float32,
) -> onnx.ModelProto:
    """A small network as PyTorch exports it: Conv, Relu, GlobalAveragePool, Flatten or Reshape, Gemm."""
    constants = {
        "kernel": KERNEL[:, : shape[1] if isinstance(shape[1], int) else 3].astype(kind),
        "weights": WEIGHTS[:, :columns].astype(kind),
        "bias": np.arange(columns).astype(kind) / 10,
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    if reshape is not None:
        constants["shape"] = np.array(reshape, np.int64)
        nodes[3] = helper.make_node("Reshape", ["pooled", "shape"], ["flat"])
    output = "logits"
    if last is not None:
        options = {} if last == "Sigmoid" else {"axis": 1}
        nodes.append(helper.make_node(last, ["logits"], ["answer"], **options))
        output = "answer"
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", element, shape)],
        [helper.make_tensor_value_info(output, element, [shape[0], columns])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")


def expected(images: np.ndarray, columns: int = 5) -> np.ndarray:
    """The logits of the network, by NumPy."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    convolved = np.einsum("nhwcij,kcij->nhwk", windows, KERNEL[:, : images.shape[3]], optimize=True)
    pooled = np.maximum(convolved, 0).mean(axis=(1, 2))
    return np.asarray(pooled @ WEIGHTS[:, :columns] + np.arange(columns) / 10, np.float32)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (network(), (24, 20)),
        (network(("batch", 3, "height", "width")), (None, None)),
        (network((None, None, None, None)), (None, None)),
        (network((1, 3, 24, 20)), (24, 20)),
        (network((1, 3, 24, 20), reshape=[1, 4]), (24, 20)),
        (network((2, 3, 24, 20), reshape=[2, 4]), (24, 20)),
        (network(opset=11), (24, 20)),
        (network(opset=21), (24, 20)),
    ],
)
def test_channels_first_become_channels_last(
    tmp_path: Path, model: onnx.ModelProto, size: tuple[int | None, int | None]
) -> None:
    file = open_model_file(saved(model, tmp_path))
    found = file.description
    assert (found.height, found.width) == size
    assert (found.channels, found.outputs, found.head, found.framework) == (3, 5, "logits", "pytorch")
    assert any("channels first" in note for note in found.notes)
    images = pixels(found) / np.float32(255)
    check_agreement(file, expected(images), images)


def test_channels_last_stay(tmp_path: Path) -> None:
    model = network()
    model.graph.node.insert(0, helper.make_node("Transpose", ["photo"], ["input"], perm=[0, 3, 1, 2]))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["n", 24, 20, 3]))
    file = open_model_file(saved(model, tmp_path))
    assert file.description.notes == ()
    images = pixels(file.description) / np.float32(255)
    check_agreement(file, expected(images), images)


def test_grey(tmp_path: Path) -> None:
    file = open_model_file(saved(network(("batch", 1, 28, 28)), tmp_path))
    assert file.description.channels == 1
    images = pixels(file.description) / np.float32(255)
    check_agreement(file, expected(images), images)


def test_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    file = open_model_file(saved(network(kind=np.float16), tmp_path))
    images = pixels(file.description) / np.float32(255)
    check_agreement(file, expected(images), images, tolerance=0.01)
    types = {tensor.data_type for tensor in onnx.load_from_string(file.to_onnx(24, 20)).graph.initializer}
    assert types == {TensorProto.FLOAT, TensorProto.INT64}


def test_double_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkUnsuitable, match=r"double \[any, 3, 24, 20\]"):
        open_model_file(saved(network(kind=np.float64), tmp_path))


@pytest.mark.parametrize(
    ("last", "columns", "head"),
    [
        (None, 5, "logits"),
        (None, 1, "logit"),
        ("Softmax", 5, "softmax"),
        ("LogSoftmax", 5, "logits"),
        ("Sigmoid", 1, "sigmoid"),
        ("Hardmax", 5, None),
    ],
)
def test_the_head_is_the_last_operator(
    tmp_path: Path, last: str | None, columns: int, head: Head | None
) -> None:
    assert open_model_file(saved(network(last=last, columns=columns), tmp_path)).description.head == head


def test_the_bytes_depend_on_the_network_alone(tmp_path: Path) -> None:
    model = network()
    first = open_model_file(saved(model, tmp_path)).to_onnx(24, 20)
    for node in model.graph.node:
        node.name = f"another_{node.op_type}"
    model.doc_string, model.producer_version = "made by somebody", "9"
    assert open_model_file(saved(model, tmp_path)).to_onnx(24, 20) == first


def test_functions_are_inlined(tmp_path: Path) -> None:
    """PyTorch's newer exporter writes parts of the network as functions in a domain of its own."""
    model = network()
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opset = helper.make_opsetid("", 18)
    model.functions.append(helper.make_function("pkg.torch", "activation", ["x"], ["y"], body, [opset]))
    model.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "activation", "pkg.torch"
    file = open_model_file(saved(model, tmp_path))
    images = pixels(file.description) / np.float32(255)
    check_agreement(file, expected(images), images)


def with_two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["batch", 4]))


def with_another_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def with_external_weights(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def with_external_weights_in_a_constant(model: onnx.ModelProto) -> None:
    constant = numpy_helper.from_array(KERNEL, "hidden")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="secret.bin")
    del model.graph.initializer[0]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["kernel"], value=constant))


def with_a_choice(model: onnx.ModelProto) -> None:
    empty = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    branches = {"then_branch": empty, "else_branch": empty}
    model.graph.node.append(helper.make_node("If", ["condition"], ["chosen"], **branches))


def with_a_mask(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    model.graph.output[0].name = "positive"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_two_outputs, NetworkUnsuitable, r"2 outputs \(logits .*flat .*extract_model"),
        (with_another_domain, NetworkUnsuitable, "com.microsoft"),
        (with_external_weights, ModelFileUnsafe, "another file, '../../etc/passwd'"),
        (with_external_weights_in_a_constant, ModelFileUnsafe, "secret.bin"),
        (with_a_choice, NetworkUnsuitable, "chooses between parts"),
        (with_a_mask, NetworkUnsuitable, r"should be \[N, classes\]"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], error: type[PipelineError], message: str
) -> None:
    model = network()
    change(model)
    with pytest.raises(error, match=message):
        open_model_file(saved(model, tmp_path))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(last="Sigmoid"), "multi-label"),
        (network(last="Softmax", columns=1), "always 1"),
        (network(("batch", 4, 24, 20)), "without 3 channels"),
    ],
)
def test_what_is_no_classifier(tmp_path: Path, model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(NetworkUnsuitable, match=message):
        open_model_file(saved(model, tmp_path))


def test_a_batch_that_is_fixed_in_the_graph_is_refused(tmp_path: Path) -> None:
    """Weights that are shaped for one batch cannot be freed."""
    model = network((2, 3, 24, 20))
    model.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "mixing"))
    model.graph.node.append(helper.make_node("MatMul", ["mixing", "logits"], ["mixed"]))
    model.graph.output[0].name = "mixed"
    with pytest.raises(NetworkUnsuitable, match="fixed number of images"):
        open_model_file(saved(model, tmp_path)).to_onnx(24, 20)


@pytest.mark.parametrize("length", [1, 20, 200, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = saved(network(), tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PipelineError):
        open_model_file(path)


def test_an_unknown_operator_is_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.node[1].op_type = "Nonsense"
    with pytest.raises(ModelFileInvalid, match="not valid ONNX"):
        open_model_file(saved(model, tmp_path))
