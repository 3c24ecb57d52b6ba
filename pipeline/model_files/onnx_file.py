"""An ONNX file of any framework as a `ModelFile`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from pipeline.errors import ModelFileInvalid, NetworkUnsuitable
from pipeline.model_files.model_file import OUTPUTS, VALUES, Description, Floats, short_message
from pipeline.model_files.onnx_interface import (
    INPUT_TYPES,
    SCALING,
    Interface,
    as_input,
    find_head,
    find_interface,
)
from pipeline.model_files.onnx_reading import EXPORT, opset, read_onnx
from pipeline.model_files.onnx_wrapping import wrap
from pipeline.onnx import keras_to_onnx
from serving.model.predictor import create_session

# The size that a network of any size is tried with.
TRIAL_SIZE = 224


@dataclass
class OnnxModelFile:
    """A `ModelFile` for ONNX files. Raises a `PipelineError` when it is described, unless it can be used."""

    path: Path

    @cached_property
    def description(self) -> Description:
        """Runs the network once, on zeros, to see the shape of its output."""
        model, interface = self._model, self._interface
        columns = self._columns
        head, notes = find_head(model.graph, interface.output, columns, self.path)
        producer = f"{model.producer_name} {model.producer_version}".strip()
        return Description(
            self.path,
            f"ONNX file, opset {opset(model)}",
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
        images = as_input(values, interface)
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
        wrapped = wrap(self._model, interface, height, width, self._columns)
        try:
            canonical = keras_to_onnx.canonicalise(wrapped, VALUES, OUTPUTS)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ModelFileInvalid(self.path, f"its graph is wrong ({short_message(error)})") from error
        graph = bytes(canonical.SerializeToString(deterministic=True))
        self._check_batches(graph, height, width)
        return graph

    def to_keras(self, height: int, width: int) -> None:
        """None: there is no Keras model of an ONNX file."""

    @cached_property
    def _model(self) -> onnx.ModelProto:
        return read_onnx(self.path)

    @cached_property
    def _interface(self) -> Interface:
        return find_interface(self._model.graph, self.path)

    @cached_property
    def _session(self) -> Any:  # noqa: ANN401
        try:
            return create_session(self._model.SerializeToString(), 1, avoid_saturation=False)
        # ONNX Runtime's own exceptions have no common base but Exception.
        except Exception as error:
            reason = f"ONNX Runtime does not load it ({short_message(error)})"
            raise ModelFileInvalid(self.path, reason, "Export it with opset 18") from error

    @cached_property
    def _columns(self) -> int:
        interface = self._interface
        height, width = interface.height or TRIAL_SIZE, interface.width or TRIAL_SIZE
        zeros = np.zeros((interface.batch or 1, height, width, interface.channels), np.float32)
        session = self._session
        try:
            found = session.run([interface.output], {interface.image: as_input(zeros, interface)})[0]
        except Exception as error:
            reason = f"it does not run on an image of {height} x {width} pixels ({short_message(error)})"
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
