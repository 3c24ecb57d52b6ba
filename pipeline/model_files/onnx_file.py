"""An ONNX file of any framework: checked, described, and wrapped to take scaled pixels [N,H,W,C]."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter

from pipeline.errors import ModelFileInvalid, ModelFileUnknown, ModelFileUnsafe, NetworkUnsuitable
from pipeline.model_files.model_file import Description, Floats, Head
from pipeline.onnx import keras_to_onnx
from serving.model.predictor import create_session

VALUES, OUTPUTS = "values", "outputs"
# Protobuf's limit for one message.
MAX_BYTES = 2**31 - 1
# Older opsets are converted; from this one on, Softmax is along one axis.
OLDEST_OPSET = 13
INPUT_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
OUTPUT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
# Operators after which a network's columns are what they were, or that only add to a product.
SHAPE_ONLY = frozenset(["Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
LINEAR = frozenset(["Add", "Conv", "Gemm", "MatMul"])
# Operators with which a graph scales its input.
SCALING = frozenset(["Add", "BatchNormalization", "Div", "InstanceNormalization", "Mul", "Sub"])
# One file for any number of images, with PyTorch 2.9 or newer.
EXPORT = (
    'torch.onnx.export(model, (image,), "model.onnx", dynamic_shapes=({0: "batch"},), external_data=False)'
)
# The size that a network of any size is tried with.
TRIAL_SIZE = 224
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class _Interface:
    """The input and output of a graph, by name."""

    image: str
    type: int
    layout: Layout
    height: int | None
    width: int | None
    channels: Literal[1, 3]
    batch: int | None
    output: str


@dataclass
class OnnxModelFile:
    """A `ModelFile` for ONNX files. Raises a `PipelineError` when it is described, unless it can be used."""

    path: Path

    @cached_property
    def description(self) -> Description:
        """Runs the network once, on zeros, to see the shape of its output."""
        model, interface = self._model, self._interface
        columns = self._columns
        head, notes = _head(model.graph, interface.output, columns, self.path)
        producer = f"{model.producer_name} {model.producer_version}".strip()
        return Description(
            self.path,
            f"ONNX file, opset {_opset(model)}",
            producer if len(producer) <= 80 else "",
            interface.height,
            interface.width,
            interface.channels,
            columns,
            head,
            None,
            None,
            (*self._notes(), *notes),
        )

    def predict(self, values: Floats) -> Floats:
        """The network's outputs [N,K] for scaled pixels [N,H,W,C], by ONNX Runtime on the file as it is."""
        interface = self._interface
        images = _as_input(values, interface)
        size = interface.batch or len(images)
        outputs = []
        for begin in range(0, len(images), size):
            part = images[begin : begin + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            found = self._session.run([interface.output], {interface.image: padded})[0]
            outputs.append(np.asarray(found[: len(part)], np.float32).reshape(len(part), -1))
        return np.concatenate(outputs)

    def to_onnx(self, height: int, width: int) -> bytes:
        """The network as an ONNX graph: `values` float32 [N,H,W,C] to `outputs` float32 [N,K], any N."""
        interface = self._interface
        for given, fixed in ((height, interface.height), (width, interface.width)):
            if fixed not in (None, given):
                raise NetworkUnsuitable(
                    self.path,
                    f"it takes images of {interface.height} x {interface.width} pixels, "
                    f"not {height} x {width} (height x width)",
                    "Leave build.size away, or give its own",
                )
        wrapped = _wrap(self._model, interface, height, width, self._columns)
        try:
            canonical = keras_to_onnx.canonicalise(wrapped, VALUES, OUTPUTS)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ModelFileInvalid(self.path, f"its graph is wrong ({_short(error)})") from error
        graph = bytes(canonical.SerializeToString(deterministic=True))
        self._check_batches(graph, height, width)
        return graph

    def to_keras(self, height: int, width: int) -> None:
        """None: there is no Keras model of an ONNX file."""

    @cached_property
    def _model(self) -> onnx.ModelProto:
        return _read(self.path)

    @cached_property
    def _interface(self) -> _Interface:
        return _find_interface(self._model.graph, self.path)

    @cached_property
    def _session(self) -> Any:  # noqa: ANN401
        try:
            return create_session(self._model.SerializeToString(), 1, avoid_saturation=False)
        # ONNX Runtime's own exceptions have no common base but Exception.
        except Exception as error:
            reason = f"ONNX Runtime does not load it ({_short(error)})"
            raise ModelFileInvalid(self.path, reason, "Export it with opset 18") from error

    @cached_property
    def _columns(self) -> int:
        interface = self._interface
        height, width = interface.height or TRIAL_SIZE, interface.width or TRIAL_SIZE
        zeros = np.zeros((interface.batch or 1, height, width, interface.channels), np.float32)
        session = self._session
        try:
            found = session.run([interface.output], {interface.image: _as_input(zeros, interface)})[0]
        except Exception as error:
            reason = f"it does not run on an image of {height} x {width} pixels ({_short(error)})"
            raise ModelFileInvalid(self.path, reason, "Export it with a fixed height and width") from error
        shape = tuple(found.shape)
        if len(shape) < 2 or shape[0] != len(zeros) or int(np.prod(shape[1:])) != max(shape[1:]):
            raise NetworkUnsuitable(
                self.path,
                f"its output {interface.output!r} is {list(shape)} for {len(zeros)} image, and should be "
                "[N, classes]",
                "If it is a network without its head, or a detector, export the classifier",
            )
        return int(max(shape[1:]))

    def _notes(self) -> Iterator[str]:
        interface, graph = self._interface, self._model.graph
        if interface.layout == "NCHW":
            yield "It takes channels first (NCHW); a transposition is put in front."
        if interface.batch is not None:
            yield f"It was exported for batches of {interface.batch}; `make run` tests that any number works."
        if (kind := INPUT_TYPES[interface.type]) != "float32":
            yield f"It takes {kind} values; here it takes float32."
        first = [node for node in graph.node if interface.image in node.input]
        if len(first) == 1 and first[0].op_type in SCALING:
            yield f"The network scales its input by itself: it begins with {first[0].op_type}."
        if any(node.op_type in ("DequantizeLinear", "QLinearConv", "ConvInteger") for node in graph.node):
            yield "It was quantised already: export.precision has to be float32."
        if self._model.model_version:
            yield f"Its owner gave it the version {self._model.model_version}."

    def _check_batches(self, graph: bytes, height: int, width: int) -> None:
        """Raises unless three images at once and one by one give the same as the file."""
        shape = (3, height, width, self._interface.channels)
        values = np.random.default_rng(0).random(shape, np.float32)
        expected = self.predict(values)
        try:
            session = create_session(graph, 1, avoid_saturation=False)
            together = session.run([OUTPUTS], {VALUES: values})[0]
            alone = np.concatenate([session.run([OUTPUTS], {VALUES: values[i : i + 1]})[0] for i in range(3)])
            # Far below what a mixed-up batch changes; half precision has three digits.
            tolerance = 2e-2 if self._interface.type == TensorProto.FLOAT16 else 1e-3
            same = all(np.allclose(found, expected, tolerance, tolerance) for found in (together, alone))
        except Exception:  # noqa: BLE001  (as above; a fixed batch shows itself in many ways)
            same = False
        if not same:
            raise NetworkUnsuitable(
                self.path,
                f"its graph has a fixed number of images ({self._interface.batch or 1}) in it",
                f"Export it with a batch of any size: {EXPORT}",
            )


def _read(path: Path) -> onnx.ModelProto:
    """The checked model, in one opset of ONNX alone."""
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileInvalid(path, "it is larger than 2 GB", "Export a smaller network, or in float16")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ModelFileInvalid(path, f"it is no complete ONNX file ({_short(error)})") from error
    if not model.graph.node or not model.opset_import:
        raise ModelFileUnknown(path, "its content is of no known kind", "save yours as one of them")
    _refuse_external_data(model, path)
    if model.functions:
        # PyTorch's exporter writes parts of the network as functions.
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            raise ModelFileInvalid(path, f"its functions cannot be inlined ({_short(error)})") from error
    _check_operators(model, path)
    try:
        if _opset(model) < OLDEST_OPSET:
            model = version_converter.convert_version(model, keras_to_onnx.OPSET)
        onnx.checker.check_model(model)
    except Exception as error:
        reason = f"its graph is not valid ONNX ({_short(error)})"
        raise ModelFileInvalid(path, reason, f"Export it with opset {keras_to_onnx.OPSET}") from error
    return model


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


def _opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if not entry.domain)


def _find_interface(graph: onnx.GraphProto, path: Path) -> _Interface:
    weights = {tensor.name for tensor in graph.initializer}
    # In old files, weights are inputs too.
    inputs = [value for value in graph.input if value.name not in weights]
    for values, kind in ((inputs, "inputs"), (list(graph.output), "outputs")):
        if len(values) != 1:
            listed = ", ".join(f"{value.name} {_shape_text(value)}" for value in values[:8]) or "none"
            raise NetworkUnsuitable(
                path,
                f"it has {len(values)} {kind} ({listed})",
                "Take the part from the image to the classes: "
                'onnx.utils.extract_model("model.onnx", "part.onnx", ["input"], ["output"])',
            )
    image, output = inputs[0], graph.output[0]
    tensor_type = image.type.tensor_type
    shape = _dimensions(image)
    if tensor_type.elem_type not in INPUT_TYPES or len(shape) != 4:
        raise NetworkUnsuitable(
            path,
            f"its input {image.name!r} is {_shape_text(image)}, and an image is [N, channels, height, width]",
            "Export the network that takes decoded images, in float32",
        )
    if output.type.tensor_type.elem_type not in OUTPUT_TYPES:
        raise NetworkUnsuitable(
            path,
            f"its output {output.name!r} has the type {_type_name(output)}, not probabilities or logits",
            "Export the network without the step that chooses a class",
        )
    layout = _layout(graph, image.name, shape)
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    channels = shape[1] if layout == "NCHW" else shape[3] if layout else None
    if layout is None or channels not in (None, 1, 3):
        raise NetworkUnsuitable(
            path,
            f"its input {image.name!r} is {_shape_text(image)}, without 3 channels (RGB) or 1 (grey)",
            "Export it for images of 3 channels or 1",
        )
    channels = channels or _convolved_channels(graph, image.name)
    return _Interface(
        image.name,
        tensor_type.elem_type,
        layout,
        height,
        width,
        1 if channels == 1 else 3,
        shape[0],
        output.name,
    )


def _layout(graph: onnx.GraphProto, image: str, shape: list[int | None]) -> Layout | None:
    """The order of dimensions; None if it is neither of the two."""
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first != last:
        return "NCHW" if first else "NHWC"
    if first or (shape[1] is None and _convolved_channels(graph, image) in (1, 3)):
        # ONNX's own convolution takes channels first.
        return "NCHW"
    return None


def _convolved_channels(graph: onnx.GraphProto, image: str) -> int | None:
    """The input channels of the first convolution, if nothing in front of it moves the dimensions."""
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    current = image
    for node in graph.node:
        if current not in node.input:
            continue
        if node.op_type == "Conv":
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            kernel = weights.get(node.input[1], [])
            return kernel[1] * groups if len(kernel) == 4 else None
        if node.op_type not in {*SCALING, "Cast", "Identity"}:
            return None
        current = node.output[0]
    return None


def _dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    """The sizes; None for one that the file leaves open."""
    return [
        dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else None
        for dimension in value.type.tensor_type.shape.dim
    ]


def _shape_text(value: onnx.ValueInfoProto) -> str:
    sizes = ["any" if size is None else str(size) for size in _dimensions(value)]
    return f"{_type_name(value)} [{', '.join(sizes)}]"


def _type_name(value: onnx.ValueInfoProto) -> str:
    number = value.type.tensor_type.elem_type
    return TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else "?"


def _as_input(values: Floats, interface: _Interface) -> Any:  # noqa: ANN401
    """Scaled pixels [N,H,W,C] in the layout and type of the graph's input."""
    ordered = values.transpose(0, 3, 1, 2) if interface.layout == "NCHW" else values
    kind = INPUT_TYPES[interface.type]
    # As ONNX's Cast does: towards zero.
    return np.ascontiguousarray(ordered).astype(kind)


def _head(graph: onnx.GraphProto, output: str, columns: int, path: Path) -> tuple[Head | None, list[str]]:
    """The head by the last operator."""
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in SHAPE_ONLY:
        node = producers.get(node.input[0])
    kind = node.op_type if node is not None else "nothing"
    if kind == "Softmax":
        if columns == 1:
            raise NetworkUnsuitable(
                path, "it ends with a softmax over one column, which is always 1", "Export a network of two"
            )
        return "softmax", []
    if kind == "Sigmoid":
        if columns == 1:
            return "sigmoid", []
        raise NetworkUnsuitable(
            path,
            f"it ends with {columns} sigmoids, each an answer of its own, so an image can have several "
            "labels or none (multi-label)",
            "Only one class of several can be served; train it with softmax and cross-entropy for that",
        )
    if kind in LINEAR:
        return "logit" if columns == 1 else "logits", []
    if kind == "LogSoftmax":
        return "logits", ["It gives logarithms of probabilities, which count as logits."]
    return None, [f"Its last operator is {kind}, which tells no head: declare build.head."]


def _wrap(
    model: onnx.ModelProto, interface: _Interface, height: int, width: int, columns: int
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


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
