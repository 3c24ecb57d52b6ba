"""A Keras model from any of its file formats: built from its checked configuration, and converted."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import ModelFileInvalid, NetworkUnsuitable, PipelineError
from pipeline.model_files.heads import find_head
from pipeline.model_files.keras_configuration import as_float32, check_configuration, without_training
from pipeline.model_files.leading_layers import (
    FunctionalStart,
    LeadingLayers,
    is_functional,
    strip_functional,
    strip_sequential,
)
from pipeline.model_files.model_file import OUTPUTS, VALUES, Description, Floats, short_message
from pipeline.network.backend import keras
from pipeline.onnx import keras_to_onnx

# Shared layers are built once within this scope; `keras.saving.load_model` uses it in the same way.
ObjectSharingScope = keras.src.saving.serialization_lib.ObjectSharingScope


@dataclass(frozen=True)
class KerasSource:
    """What a Keras file holds. `config` has the form of Keras 3; `load_weights` reads them into a model."""

    path: Path
    format: str
    framework: str
    config: dict[str, Any]
    load_weights: Callable[[Any], None]
    notes: tuple[str, ...] = ()


@dataclass
class KerasModelFile:
    """A `ModelFile` for Keras models."""

    source: KerasSource
    code: Path | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def description(self) -> Description:
        """Raises `NetworkUnsuitable` unless it is a classifier of single images."""
        model, leading, path = self._model, self._leading, self.source.path
        height, width = _input_shape(model, path)[:2]
        if leading.resize:
            height, width = leading.resize.height, leading.resize.width
        columns, notes = _columns(model, path)
        head, head_notes = find_head(model, columns, path)
        return Description(
            path,
            self.source.format,
            self.source.framework,
            height,
            width,
            self._channels,
            columns,
            head,
            leading.resize,
            leading.scaling,
            (
                *self.source.notes,
                *self._policy_notes,
                *leading.notes,
                *self._inner_notes,
                *notes,
                *head_notes,
            ),
        )

    def predict(self, values: Floats) -> Floats:
        """The network's outputs [N,K] for scaled pixels [N,H,W,C], by Keras, in inference mode."""
        network = self._network(values.shape[1], values.shape[2])
        return np.asarray(network.predict(values, verbose=0), np.float32)

    def to_onnx(self, height: int, width: int) -> bytes:
        """The network as an ONNX graph: `values` float32 [N,H,W,C] to `outputs` float32 [N,K], any N."""
        return keras_to_onnx.to_bytes(self._network(height, width), VALUES, "float32", OUTPUTS)

    def to_keras(self, height: int, width: int) -> Any | None:  # noqa: ANN401
        """The network as a Keras model that loads without custom code; None if it needs that."""
        return None if self.custom else self._network(height, width)

    @cached_property
    def _configuration(self) -> tuple[dict[str, Any], list[str]]:
        """The checked configuration in float32, and the policies that the model was saved with."""
        config = without_training(self.source.config)
        check_configuration(config, self.source.path, self.custom, self.code)
        return as_float32(config)

    @cached_property
    def _saved_model(self) -> Any:  # noqa: ANN401
        """The model as in the file, in float32, without its weights until `_weighted_model` was used."""
        return _build(self._configuration[0], self.custom, self.source.path)

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401
        """The same with symbolic input and output, which models of other classes do not have."""
        if getattr(self._saved_model, "inputs", None) is not None:
            return self._saved_model
        return _called(self._saved_model, self._configuration[0], self.source.path)

    @cached_property
    def _weighted_model(self) -> Any:  # noqa: ANN401
        """The model after its weights were read; an error of Keras becomes `ModelFileInvalid`."""
        model = self._model
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.source.load_weights(self._saved_model)
        except (PipelineError, MemoryError):
            raise
        # Keras raises many types for weights that do not fit: ValueError, KeyError, OSError, ...
        except Exception as error:
            reason = f"its weights do not fit its layers ({short_message(error)})"
            raise ModelFileInvalid(self.source.path, reason) from error
        # Keras only warns about layers that keep random weights.
        incomplete = [str(warning.message) for warning in caught if "retain" in str(warning.message)]
        if incomplete:
            raise ModelFileInvalid(
                self.source.path, f"it lacks weights of some layers ({incomplete[0][:300]})"
            )
        return model

    @property
    def _channels(self) -> Literal[1, 3]:
        channels = _input_shape(self._model, self.source.path)[2]
        return 1 if channels == 1 else 3

    @cached_property
    def _policy_notes(self) -> list[str]:
        policies = self._configuration[1]
        if not policies:
            return []
        return [f"It computes in {', '.join(policies)}; here it computes in float32, with the same weights."]

    @cached_property
    def _start(self) -> tuple[LeadingLayers, FunctionalStart | list[Any] | None]:
        """The leading layers, and what remains without them; None for a model of other code."""
        model, leading = self._model, LeadingLayers(self._channels)
        # An adapted Normalization has its mean and variance among the weights.
        if any(type(layer).__name__ == "Normalization" for layer in _all_layers(model)):
            model = self._weighted_model
        if type(model) is keras.Sequential:
            return leading, strip_sequential(model, leading)
        return leading, strip_functional(model, leading) if is_functional(model) else None

    @property
    def _leading(self) -> LeadingLayers:
        return self._start[0]

    @cached_property
    def _inner_notes(self) -> list[str]:
        """Notes on preprocessing that stays in the network."""
        top = _remaining_layers(self._model, self._start[1])
        notes = []
        first = next((layer for layer in top if not isinstance(layer, keras.layers.InputLayer)), None)
        if type(first).__module__.startswith("keras.src.ops."):
            notes.append(f"The network changes its input by itself: it begins with {type(first).__name__}.")
        for outer in top:
            for layer in _all_layers(outer):
                kind = type(layer).__name__
                where = f" of {outer.name!r}" if layer is not outer else ""
                if kind in ("Rescaling", "Normalization"):
                    notes.append(f"The network scales its input by itself: {kind} {layer.name!r}{where}.")
                elif kind in ("Resizing", "CenterCrop", "RandomCrop"):
                    notes.append(f"The network changes the size by itself: {kind} {layer.name!r}{where}.")
        return notes[:3]

    def _network(self, height: int, width: int) -> Any:  # noqa: ANN401
        if (height, width) not in self._networks:
            self._networks[height, width] = self._build_network(height, width)
        return self._networks[height, width]

    @cached_property
    def _networks(self) -> dict[tuple[int, int], Any]:
        return {}

    def _build_network(self, height: int, width: int) -> Any:  # noqa: ANN401
        """A Functional model from scaled pixels to [N,K]; all layers are in inference mode."""
        description, model = self.description, self._weighted_model
        for given, fixed in ((height, description.height), (width, description.width)):
            if fixed not in (None, given):
                raise NetworkUnsuitable(
                    self.source.path,
                    f"it takes images of {description.height} x {description.width} pixels, "
                    f"not {height} x {width} (height x width)",
                    "Leave build.size away, or give its own",
                )
        image = keras.Input((height, width, self._channels), name=VALUES)
        _, rest = self._start
        try:
            output = _call(model, rest, image)
        except (ValueError, TypeError) as error:
            raise NetworkUnsuitable(
                self.source.path,
                f"it cannot be built for images of {height} x {width} pixels ({short_message(error)})",
                "Give the size that it was trained with in build.size",
            ) from error
        if len(output.shape) > 2:
            output = keras.layers.Reshape((description.outputs,))(output)
        return keras.Model(image, output)


def _build(config: dict[str, Any], custom: Mapping[str, Any], path: Path) -> Any:  # noqa: ANN401
    try:
        with ObjectSharingScope(), keras.saving.custom_object_scope(dict(custom)):
            model = keras.saving.deserialize_keras_object(config, custom_objects=dict(custom), safe_mode=True)
    except MemoryError:
        raise
    # Keras raises many types for a configuration that it cannot use, and declared code any.
    except Exception as error:
        reason = f"Keras {keras.__version__} cannot build its layers ({short_message(error)})"
        raise ModelFileInvalid(path, reason) from error
    if not isinstance(model, keras.Model):
        raise NetworkUnsuitable(
            path, f"it holds a {type(model).__name__} of Keras", "Save the whole model, with model.save"
        )
    return model


def _called(model: Any, config: dict[str, Any], path: Path) -> Any:  # noqa: ANN401
    """A Functional model that calls a model of another class on an input of the shape it was built for."""
    shape = (config.get("build_config") or {}).get("input_shape")
    if shape is None:
        raise ModelFileInvalid(
            path,
            "the model was saved before it was built, or has several inputs, so its input size is unknown",
            "Call it once on a batch of images where it is made, and save it again",
        )
    try:
        image = keras.Input(tuple(shape)[1:])
        return keras.Model(image, model(image, training=False))
    except MemoryError:
        raise
    # The declared code of the model runs here.
    except Exception as error:
        reason = f"its code does not accept an input of {list(shape)} ({short_message(error)})"
        raise ModelFileInvalid(path, reason, "Correct the declared code") from error


def _call(model: Any, rest: FunctionalStart | list[Any] | None, image: Any) -> Any:  # noqa: ANN401
    """The output of what remains of the model for an input tensor."""
    if rest is None:
        return keras.tree.flatten(_in_inference_mode(model, image))[0]
    if isinstance(rest, list):
        for layer in rest:
            image = _in_inference_mode(layer, image)
        return image

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if layer.name in rest.dropped:
            return next(value for value in [*args, *kwargs.values()] if keras.backend.is_keras_tensor(value))
        return _in_inference_mode(rest.replaced.get(layer.name, layer), *args, **kwargs)

    inputs = keras.tree.map_structure(lambda _: image, model.input)
    clone = keras.models.clone_model(model, inputs, clone_function=lambda layer: layer, call_function=call)
    return keras.tree.flatten(clone.output)[0]


def _remaining_layers(model: Any, rest: FunctionalStart | list[Any] | None) -> list[Any]:  # noqa: ANN401
    """The outermost layers and operations of what remains, in order."""
    if isinstance(rest, list):
        return rest
    if rest is None:
        return list(model.layers)
    kept = (operation for operation in model.operations if operation.name not in rest.dropped)
    return [rest.replaced.get(operation.name, operation) for operation in kept]


def _in_inference_mode(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Calls a layer with `training=False` where it has that argument.

    It is not enough to leave it away: one layer whose default is True would put all later ones into training
    mode (Keras 3.15).
    """
    if "training" in inspect.signature(layer.call).parameters:
        kwargs["training"] = False
    return layer(*args, **kwargs)


def _all_layers(layer: Any) -> list[Any]:  # noqa: ANN401
    """A layer and all layers inside it."""
    inner = layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else [layer]
    return list(inner)


def _input_shape(model: Any, path: Path) -> tuple[int | None, int | None, int]:  # noqa: ANN401
    """Height, width and channels of the only input."""
    inputs = keras.tree.flatten(model.inputs)
    if len(inputs) > 1:
        listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in inputs)
        raise NetworkUnsuitable(
            path,
            f"it has {len(inputs)} inputs ({listed})",
            "Bring a model with the image as its only input",
        )
    shape, dtype = tuple(inputs[0].shape), str(inputs[0].dtype)
    if len(shape) != 4:
        raise NetworkUnsuitable(
            path,
            f"its input is {list(shape)} and an image is [N, height, width, channels]",
            "If it flattens images itself, start it with an Input of their shape and a Flatten layer",
        )
    if dtype == "string":
        raise NetworkUnsuitable(path, "it takes strings", "Bring the network behind the decoding of files")
    height, width, channels = shape[1:]
    if channels not in (1, 3):
        first = shape[1] in (1, 3)
        raise NetworkUnsuitable(
            path,
            f"its input is {list(shape)}, with {channels} channels"
            + (", or the channels before height and width" if first else ""),
            "Images have 3 channels (RGB) or 1 (grey), behind height and width"
            + (": build it with data_format=channels_last" if first else ""),
        )
    return height, width, channels


def _columns(model: Any, path: Path) -> tuple[int, list[str]]:  # noqa: ANN401
    outputs = keras.tree.flatten(model.outputs)
    if len(outputs) > 1:
        listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in outputs)
        raise NetworkUnsuitable(
            path,
            f"it has {len(outputs)} outputs ({listed})",
            "Save a model with one of them: keras.Model(model.input, model.outputs[0]).save(...)",
        )
    shape = tuple(outputs[0].shape)
    columns = shape[-1] if shape else None
    if columns is None or len(shape) not in (2, 4) or any(size != 1 for size in shape[1:-1]):
        raise NetworkUnsuitable(
            path,
            f"its output is {list(shape)} and should be [N, classes]",
            "If it is a base network without its head, save the model that has been trained on top of it",
        )
    notes = [f"Its output {list(shape)} is taken as [N, {columns}]."] if len(shape) > 2 else []
    return int(columns), notes
