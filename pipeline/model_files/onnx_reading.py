"""Reads an ONNX file without touching another one: checked, in one opset of ONNX alone."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, inliner, version_converter

from pipeline.errors import ModelFileInvalid, ModelFileUnknown, ModelFileUnsafe, NetworkUnsuitable
from pipeline.model_files.model_file import short_message
from pipeline.onnx import keras_to_onnx

# Protobuf's limit for one message.
MAX_BYTES = 2**31 - 1
# Older opsets are converted; from this one on, Softmax is along one axis.
OLDEST_OPSET = 13
# One file for any number of images, with PyTorch 2.9 or newer.
EXPORT = (
    'torch.onnx.export(model, (image,), "model.onnx", dynamic_shapes=({0: "batch"},), external_data=False)'
)


def read_onnx(path: Path) -> onnx.ModelProto:
    """The checked model, in one opset of ONNX alone."""
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileInvalid(path, "it is larger than 2 GB", "Export a smaller network, or in float16")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ModelFileInvalid(path, f"it is no complete ONNX file ({short_message(error)})") from error
    if not model.graph.node or not model.opset_import:
        raise ModelFileUnknown(path, "its content is of no known kind", "save yours as one of them")
    _refuse_external_data(model, path)
    if model.functions:
        # PyTorch's exporter writes parts of the network as functions.
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            raise ModelFileInvalid(path, f"its functions do not inline ({short_message(error)})") from error
    _check_operators(model, path)
    try:
        if opset(model) < OLDEST_OPSET:
            model = version_converter.convert_version(model, keras_to_onnx.OPSET)
        onnx.checker.check_model(model)
    except Exception as error:
        reason = f"its graph is not valid ONNX ({short_message(error)})"
        raise ModelFileInvalid(path, reason, f"Export it with opset {keras_to_onnx.OPSET}") from error
    return model


def opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if not entry.domain)


def _refuse_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Weights in other files could be any file of this machine."""
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            raise ModelFileUnsafe(
                path,
                f"the weights {tensor.name!r} are in another file, {location!r}",
                f"Export all into one file: {EXPORT}; or join them: "
                'onnx.save(onnx.load("model.onnx"), "one_file.onnx", save_as_external_data=False)',
            )


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    graphs: list[onnx.GraphProto] = [model.graph]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            if graph is not model.graph:
                nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += (attribute.g, *attribute.graphs)


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains:
        raise NetworkUnsuitable(
            path,
            f"it uses operators outside of ONNX's own ({', '.join(sorted(domains)[:5])})",
            "Export it without the optimisations of one runtime, with torch.onnx.export or tf2onnx",
        )
    for node in model.graph.node:
        # Its default domain has two spellings.
        node.domain = ""
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise NetworkUnsuitable(
                path,
                f"its operator {node.name!r} ({node.op_type}) chooses between parts of the graph",
                "Export it by tracing an image, so that one way through the network remains",
            )
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        raise ModelFileInvalid(path, "it does not say which opset of ONNX it uses", "Export it again")
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
