"""A SavedModel folder of TensorFlow: its graph is checked before TensorFlow loads it, and then converted.

Loading a SavedModel can run operations of its graph, which can read and write files. So every operation has
to be an allowed one, in the graph and in all of its functions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from google.protobuf.message import DecodeError

from pipeline.errors import ModelFileInvalid, ModelFileUnsafe, NetworkUnsuitable
from pipeline.model_files.model_file import OUTPUTS, VALUES, Description, Floats, Head, short_message
from pipeline.model_files.saved_model_operations import ALLOWED, RANDOM, SAVING
from pipeline.network.backend import saved_model_pb2, tf
from pipeline.onnx import keras_to_onnx, tensorflow_graph

GRAPH = "saved_model.pb"
FOLDERS = frozenset(["assets", "assets.extra", "variables"])
FILES = frozenset([GRAPH, "fingerprint.pb", "keras_metadata.pb"])
# Without its variables. NASNetLarge's graph has 30 MB.
MAX_GRAPH_BYTES = 2**29
# Names of the signature that answers: tf.keras and Keras 3 write the first.
SIGNATURES = ("serving_default", "serve")
KERAS_EXPORT = 'model.export("folder") under Keras 3, or model.save("folder") under Keras 2'
TYPES = frozenset(["float32", "float16", "float64", "uint8"])
# Kinds of objects that need nothing but variables and functions of the file.
OBJECTS = frozenset(
    ["bare_concrete_function", "captured_tensor", "constant", "function", "user_object", "variable"]
)
SHAPE_ONLY = frozenset(["Cast", "EnsureShape", "Identity", "Reshape", "Squeeze"])
TRIAL_SIZE = 224


@dataclass(frozen=True)
class _Signature:
    """The function that is served, and its input. `batch` is fixed in some files."""

    key: str
    argument: str
    height: int | None
    width: int | None
    channels: Literal[1, 3]
    type: str


@dataclass
class SavedModelFile:
    """A `ModelFile` for SavedModel folders."""

    path: Path

    @cached_property
    def description(self) -> Description:
        """Raises a `PipelineError` for a folder that cannot be read, is not safe, or is no classifier."""
        signature = self._signature
        meta = self._graph
        notes = ["No Keras model can be made of it: the registry's version has the ONNX graph alone."]
        if signature.type != "float32":
            notes.append(f"It takes {signature.type} values; they are converted from float32.")
        columns = self._check_inference()
        head, head_notes = _head(meta, signature.key, columns, self.path)
        version = meta.meta_info_def.tensorflow_version
        return Description(
            self.path,
            "SavedModel",
            f"TensorFlow {version}" if 0 < len(version) < 40 else "",
            signature.height,
            signature.width,
            signature.channels,
            columns,
            head,
            None,
            None,
            (*notes, *head_notes),
        )

    def predict(self, values: Floats) -> Floats:
        """The network's outputs [N,K] for scaled pixels [N,H,W,C], by TensorFlow."""
        outputs = self._infer(tf.constant(values, tf.float32)).numpy()
        return np.asarray(outputs, np.float32).reshape(len(values), -1)

    def to_onnx(self, height: int, width: int) -> bytes:
        """The network as an ONNX graph: `values` float32 [N,H,W,C] to `outputs` float32 [N,K], any N."""
        signature, columns = self._signature, self.description.outputs
        for given, fixed in ((height, signature.height), (width, signature.width)):
            if fixed not in (None, given):
                raise NetworkUnsuitable(
                    self.path,
                    f"it takes images of {signature.height} x {signature.width} pixels, "
                    f"not {height} x {width} (height x width)",
                    "Leave build.size away, or give its own",
                )

        def infer(values: Any) -> Any:  # noqa: ANN401
            return tf.reshape(self._infer(values), (-1, columns))

        shape = (None, height, width, signature.channels)
        graph = tensorflow_graph.convert_function(infer, shape, VALUES, "float32", keras_to_onnx.OPSET)
        return bytes(keras_to_onnx.canonicalise(graph, VALUES, OUTPUTS).SerializeToString(deterministic=True))

    def to_keras(self, height: int, width: int) -> None:
        """None: only the graph is in the folder."""

    @cached_property
    def _graph(self) -> Any:  # noqa: ANN401
        return _read(self.path)

    @cached_property
    def _signature(self) -> _Signature:
        return _find_signature(self._graph, self.path)

    @cached_property
    def _loaded(self) -> Any:  # noqa: ANN401
        _ = self._signature
        try:
            return tf.saved_model.load(str(self.path))
        except MemoryError:
            raise
        # TensorFlow raises many types: OSError, ValueError, KeyError, its own errors, ...
        except Exception as error:
            reason = f"TensorFlow {tf.__version__} does not load it ({short_message(error)})"
            raise ModelFileInvalid(self.path, reason) from error

    def _infer(self, values: Any) -> Any:  # noqa: ANN401
        signature = self._signature
        function = self._loaded.signatures[signature.key]
        outputs = function(**{signature.argument: tf.cast(values, signature.type)})
        return tf.cast(next(iter(outputs.values())), tf.float32)

    def _check_inference(self) -> int:
        """The number of columns. Raises if an answer depends on the rest of its batch, or on chance."""
        signature = self._signature
        shape = (3, signature.height or TRIAL_SIZE, signature.width or TRIAL_SIZE, signature.channels)
        values = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        try:
            outputs = [self._infer(tf.constant(values)).numpy() for _ in range(2)]
            alone = np.concatenate([self._infer(tf.constant(values[i : i + 1])).numpy() for i in range(3)])
        except MemoryError:
            raise
        except Exception as error:
            reason = f"it does not answer a batch of {shape[0]} images of {shape[1]} x {shape[2]} pixels"
            raise ModelFileInvalid(
                self.path,
                f"{reason} ({short_message(error)})",
                f"Save it for batches of any size: {KERAS_EXPORT}",
            ) from error
        found = outputs[0].shape
        if len(found) < 2 or found[0] != 3 or int(np.prod(found[1:])) != max(found[1:]):
            raise NetworkUnsuitable(
                self.path,
                f"its output is {list(found)} for 3 images, and should be [N, classes]",
                "If it is a base network without its head, save the model that has been trained on top of it",
            )
        # Far below what training mode changes; sums in another order change the last digits.
        if not np.array_equal(outputs[0], outputs[1]) or not np.allclose(outputs[0], alone, 1e-3, 1e-4):
            raise NetworkUnsuitable(
                self.path,
                "its answer to an image depends on the other images of the batch or on chance: it was saved "
                "in training mode, as Keras 3 does for networks that begin with Resizing or augmentation",
                'Bring the Keras file itself: model.save("model.keras")',
            )
        return int(max(found[1:]))


def _read(path: Path) -> Any:  # noqa: ANN401
    """The meta graph, after all files and operations were checked."""
    _check_files(path)
    size = (path / GRAPH).stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise ModelFileInvalid(path, f"{GRAPH} has {size:,} bytes; the limit is {MAX_GRAPH_BYTES:,}")
    document = saved_model_pb2.SavedModel()
    try:
        document.ParseFromString((path / GRAPH).read_bytes())
    except (DecodeError, ValueError) as error:
        raise ModelFileInvalid(path, f"{GRAPH} is damaged ({short_message(error)})") from error
    if len(document.meta_graphs) != 1:
        raise ModelFileInvalid(
            path,
            f"it has {len(document.meta_graphs)} graphs",
            f"Save it again as one: {KERAS_EXPORT}",
        )
    meta = document.meta_graphs[0]
    if not meta.object_graph_def.nodes:
        raise ModelFileInvalid(
            path,
            "it has the form of TensorFlow 1, whose loader runs operations of the file",
            f"Save it again under TensorFlow 2: {KERAS_EXPORT}",
        )
    _check_operations(meta, path)
    return meta


def _check_files(path: Path) -> None:
    for entry in path.rglob("*"):
        if entry.is_symlink():
            raise ModelFileUnsafe(
                path, f"{entry.relative_to(path)} is a symbolic link", "Bring the folder with the files in it"
            )
        parts = entry.relative_to(path).parts
        if (parts[0] not in FOLDERS) if entry.is_dir() or len(parts) > 1 else (parts[0] not in FILES):
            raise ModelFileInvalid(
                path,
                f"{entry.relative_to(path)} is not part of a SavedModel",
                "Bring the folder as it was saved",
            )


def _check_operations(meta: Any, path: Path) -> None:  # noqa: ANN401
    """Raises unless each operation is allowed, and saving and restoring are not reachable."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    bodies = {name: function.node_def for name, function in functions.items()}
    for where, nodes in [("the graph", meta.graph_def.node), *bodies.items()]:
        for node in nodes:
            if node.op not in ALLOWED | SAVING and node.op not in functions:
                raise ModelFileUnsafe(
                    path,
                    f"{where} has the operation {node.op!r}, which is not one of those that classify images",
                    f"Save the network without it, from images to classes: {KERAS_EXPORT}",
                )
    for index, entry in enumerate(meta.object_graph_def.nodes):
        kind = entry.WhichOneof("kind")
        if kind not in OBJECTS or entry.saveable_objects or entry.registered_saver:
            raise ModelFileUnsafe(
                path,
                f"object {index} ({kind}) has functions of its own for loading, as tables and data sets have",
                f"Save the network without it, from images to classes: {KERAS_EXPORT}",
            )
    # What TensorFlow may call: functions of objects and signatures. Not: save and restore of the saver.
    called = set(meta.object_graph_def.concrete_functions)
    called |= {node.op for node in meta.graph_def.node}
    restores = {meta.saver_def.save_tensor_name.split(":")[0], meta.saver_def.restore_op_name}
    for node in meta.graph_def.node:
        if node.name not in restores:
            called |= set(_functions_of(node))
        if node.op in SAVING:
            raise _saves(path, node.op)
    for name in _reachable(called, functions):
        for node in functions[name].node_def:
            if node.op in SAVING:
                raise _saves(path, node.op)


def _saves(path: Path, operation: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(
        path,
        f"a function that can be called uses {operation}, which reads or writes files",
        f"Save the network without it, from images to classes: {KERAS_EXPORT}",
    )


def _functions_of(node: Any) -> Iterator[str]:  # noqa: ANN401
    """The functions that a node calls."""
    yield node.op
    for attribute in node.attr.values():
        yield attribute.func.name
        for function in attribute.list.func:
            yield function.name


def _reachable(names: set[str], functions: dict[str, Any]) -> set[str]:
    """The functions of the file that these call, also through others."""
    found: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for node in functions[name].node_def:
            waiting += [called for called in _functions_of(node) if called in functions]
    return found


def _find_signature(meta: Any, path: Path) -> _Signature:  # noqa: ANN401
    signatures = {key: value for key, value in meta.signature_def.items() if not key.startswith("__")}
    key = next((key for key in SIGNATURES if key in signatures), None)
    if key is None:
        listed = ", ".join(sorted(signatures)[:5]) or "none"
        raise NetworkUnsuitable(
            path, f"it has no signature {SIGNATURES[0]} (but: {listed})", f"Save it again: {KERAS_EXPORT}"
        )
    signature = signatures[key]
    for values, kind in ((signature.inputs, "inputs"), (signature.outputs, "outputs")):
        if len(values) != 1:
            listed = ", ".join(f"{name} {_shape(value)}" for name, value in list(values.items())[:8])
            raise NetworkUnsuitable(
                path,
                f"its signature {key} has {len(values)} {kind} ({listed})",
                "Save a model from one image to its classes: keras.Model(model.inputs[0], model.outputs[0])",
            )
    argument, image = next(iter(signature.inputs.items()))
    shape, kind = _shape(image), tf.dtypes.as_dtype(image.dtype).name
    if len(shape) != 4 or kind not in TYPES or shape[3] not in (1, 3):
        raise NetworkUnsuitable(
            path,
            f"its input {argument} is {kind} {shape}, and an image is [N, height, width, channels] with 3 "
            "channels (RGB) or 1 (grey)",
            "Save the network that takes decoded images, with channels last",
        )
    if shape[0] is not None:
        raise NetworkUnsuitable(
            path, f"it takes batches of {shape[0]} only", f"Save it for batches of any size: {KERAS_EXPORT}"
        )
    _check_randomness(meta, signature, path)
    return _Signature(key, argument, shape[1], shape[2], 1 if shape[3] == 1 else 3, kind)


def _shape(value: Any) -> list[int | None]:  # noqa: ANN401
    if value.tensor_shape.unknown_rank:
        return []
    return [dimension.size if dimension.size > 0 else None for dimension in value.tensor_shape.dim]


def _check_randomness(meta: Any, signature: Any, path: Path) -> None:  # noqa: ANN401
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    output = next(iter(signature.outputs.values())).name.split(":")[0]
    nodes = {node.name: node for node in meta.graph_def.node}
    called = set(_functions_of(nodes[output])) if output in nodes else set()
    for name in _reachable(called, functions):
        for node in functions[name].node_def:
            if node.op in RANDOM:
                raise NetworkUnsuitable(
                    path,
                    f"the function that answers draws random numbers ({node.op}): it was saved in training "
                    "mode, as Keras 3 does for networks that begin with augmentation",
                    'Bring the Keras file itself: model.save("model.keras")',
                )


def _head(meta: Any, key: str, columns: int, path: Path) -> tuple[Head | None, list[str]]:  # noqa: ANN401
    """The head by the last operation of the function that answers."""
    kind = _last_operation(meta, key)
    if kind == "Softmax":
        return "softmax", []
    if kind == "Sigmoid" and columns == 1:
        return "sigmoid", []
    if kind == "Sigmoid":
        raise NetworkUnsuitable(
            path,
            f"it ends with {columns} sigmoids, each an answer of its own, so an image can have several "
            "labels or none (multi-label)",
            "Only one class of several can be served; train it with softmax and categorical_crossentropy",
        )
    if kind in ("AddV2", "BiasAdd", "Conv2D", "MatMul"):
        return "logit" if columns == 1 else "logits", []
    if kind == "LogSoftmax":
        return "logits", ["It gives logarithms of probabilities, which count as logits."]
    return None, [f"Its last operation is {kind}, which tells no head: declare build.head."]


def _last_operation(meta: Any, key: str) -> str:  # noqa: ANN401
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    output = next(iter(meta.signature_def[key].outputs.values())).name
    nodes = {node.name: node for node in meta.graph_def.node}
    name = output.split(":")[0]
    returned = 0
    # A chain of calls and operations that change nothing; each is visited once.
    for _ in range(len(nodes) + sum(len(function.node_def) for function in functions.values())):
        node = nodes.get(name)
        if node is None:
            return "an argument"
        called = next((functions[n] for n in _functions_of(node) if n in functions), None)
        if called is not None and node.op in ("StatefulPartitionedCall", "PartitionedCall"):
            arguments = [argument.name for argument in called.signature.output_arg]
            if returned >= len(arguments):
                return str(node.op)
            reference = called.ret[arguments[returned]]
            nodes = {inner.name: inner for inner in called.node_def}
        elif node.op in SHAPE_ONLY and node.input:
            reference = node.input[0]
        else:
            return str(node.op)
        # "name:output:0" inside functions, "name:0" or "name" in the graph.
        parts = reference.split(":")
        name, returned = parts[0], int(parts[-1]) if len(parts) > 1 else 0
    return "a cycle"
