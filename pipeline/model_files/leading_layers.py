"""Layers at the start of a Keras network that only prepare pixels: described, and left out of the network.

What remains of the network is called on pixels that the served graph has scaled and the decoder has resized.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model_files.model_file import ResizeLayer, Scaling
from pipeline.network.backend import keras

# Layers that change nothing when they do not train.
TRAINING_ONLY = frozenset(
    [
        "AugMix",
        "CutMix",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
        "SpatialDropout2D",
    ]
)
FILTERS = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos3": "lanczos"}
# Operations that Keras records for expressions of a tensor and a constant.
ADDITIONS, PRODUCTS = frozenset(["Add", "Subtract"]), frozenset(["Multiply", "TrueDivide", "Divide"])

Array = npt.NDArray[np.float64]
Tensor = tuple[str, int, int]


@dataclass
class LeadingLayers:
    """What the layers so far do, in order: `factor * value + offset` for each channel, and one resize."""

    channels: int
    factor: Array = field(init=False)
    offset: Array = field(init=False)
    resize: ResizeLayer | None = None
    scales: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.factor, self.offset = np.ones(self.channels), np.zeros(self.channels)

    @property
    def scaling(self) -> Scaling | None:
        """The scaling of all layers together, or None if there was no such layer."""
        if not self.scales:
            return None
        return Scaling(tuple(map(float, self.factor)), tuple(map(float, self.offset)))

    def absorb(self, layer: Any, node: dict[str, Any] | None = None) -> bool:  # noqa: ANN401
        """Whether `layer` is described by this object from now on, so that it can be left out.

        `node` has the arguments of its call, for operations of expressions.
        """
        name = type(layer).__name__
        if type(layer).__module__.split(".")[0] != "keras":
            return False
        if name in TRAINING_ONLY:
            if name != "Identity":
                self.notes.append(f"{name} {layer.name!r} only matters in training and is left out.")
            return True
        if name == "Resizing":
            return self._absorb_resizing(layer)
        if name == "Rescaling":
            return self._apply(layer.scale, layer.offset)
        if name == "Normalization":
            return self._absorb_normalization(layer)
        if name in ADDITIONS | PRODUCTS and node is not None:
            return self._absorb_expression(name, node)
        return False

    def _absorb_resizing(self, layer: Any) -> bool:  # noqa: ANN401
        padded = layer.pad_to_aspect_ratio
        # Lanczos with five lobes, and padding by anything but black, have no counterpart in the decoder.
        black = layer.fill_mode == "constant" and layer.fill_value == 0 and not self.scales
        if self.resize or layer.interpolation not in FILTERS or (padded and not black):
            return False
        self.resize = ResizeLayer(
            int(layer.height),
            int(layer.width),
            "crop" if layer.crop_to_aspect_ratio else "pad" if padded else "squash",
            FILTERS[layer.interpolation],  # type: ignore[arg-type]  # the dictionary has exactly these
            bool(layer.antialias),
        )
        return True

    def _absorb_normalization(self, layer: Any) -> bool:  # noqa: ANN401
        if layer.mean is None:
            return False
        mean, variance = (np.asarray(value, np.float64) for value in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        if layer.invert:
            return self._apply(deviation, mean)
        return self._apply(1 / deviation, -mean / deviation)

    def _absorb_expression(self, name: str, node: dict[str, Any]) -> bool:
        values = [*node.get("args", []), *node.get("kwargs", {}).values()]
        if len(values) != 2:
            return False
        constants = [_constant(value) for value in values]
        constant = next((value for value in constants if value is not None), None)
        if constant is None or all(value is not None for value in constants):
            return False
        tensor_first = constants[0] is None
        if name == "Add":
            return self._apply(1, constant)
        if name == "Multiply":
            return self._apply(constant, 0)
        if name == "Subtract":
            return self._apply(1, -constant) if tensor_first else self._apply(-1, constant)
        # A constant divided by pixels is not affine.
        return tensor_first and bool(np.all(constant)) and self._apply(1 / constant, 0)

    def _apply(self, factor: object, offset: object) -> bool:
        """Appends `factor * value + offset`; false if that is not one number for each channel."""
        channels = [self._by_channel(value) for value in (factor, offset)]
        if channels[0] is None or channels[1] is None:
            return False
        self.factor, self.offset = self.factor * channels[0], self.offset * channels[0] + channels[1]
        self.scales = True
        return True

    def _by_channel(self, value: object) -> Array | None:
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            return None
        if array.size not in (1, self.channels) or (array.size > 1 and array.shape[-1] != self.channels):
            return None
        return np.broadcast_to(array.reshape(-1), (self.channels,)) if np.isfinite(array).all() else None


def _constant(value: object) -> Array | None:
    """The value of an argument that is a number, a list of them or a serialised array; None for a tensor."""
    if isinstance(value, dict):
        config = value.get("config")
        is_array = value.get("class_name") in ("__tensor__", "__numpy__") and isinstance(config, dict)
        value = config["value"] if is_array and isinstance(config, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return None
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None


def strip_sequential(model: Any, leading: LeadingLayers) -> list[Any]:  # noqa: ANN401
    """Describes the leading layers of a Sequential model; returns the layers that remain."""
    layers = list(model.layers)
    while layers:
        first = layers[0]
        if leading.absorb(first):
            layers.pop(0)
            continue
        nested = _strip_nested(first, leading)
        if nested is None:
            layers.pop(0)
            continue
        layers[0] = nested
        break
    return layers


def _strip_nested(layer: Any, leading: LeadingLayers) -> Any | None:  # noqa: ANN401
    """What remains of a layer that may be a model; None if nothing does."""
    if type(layer) is keras.Sequential:
        rest = strip_sequential(layer, leading)
        if not rest:
            return None
        same = len(rest) == len(layer.layers) and rest[0] is layer.layers[0]
        return layer if same else keras.Sequential(rest, name=layer.name)
    if is_functional(layer):
        # A base network with its own scaling is left whole, as keras.applications built it.
        trial = LeadingLayers(leading.channels, leading.resize, leading.scales, list(leading.notes))
        trial.factor, trial.offset = leading.factor, leading.offset
        if strip_functional(layer, trial).whole:
            leading.__dict__.update(trial.__dict__)
            return None
    return layer


def is_functional(layer: Any) -> bool:  # noqa: ANN401
    """Whether it is a Functional model of Keras itself, whose graph can be followed."""
    return type(layer) in (keras.Model, keras.models.Model) or (
        type(layer).__name__ == "Functional" and type(layer).__module__.startswith("keras.")
    )


@dataclass(frozen=True)
class FunctionalStart:
    """Names of operations to leave out of a Functional model, and the models to use instead of others.

    `whole` is true if nothing else is in the model.
    """

    dropped: frozenset[str]
    replaced: dict[str, Any]
    whole: bool = False


def strip_functional(model: Any, leading: LeadingLayers) -> FunctionalStart:  # noqa: ANN401
    """Describes the leading operations of a Functional model with one input and one output."""
    config = model.get_config()
    operations = {operation.name: operation for operation in model.operations}
    users: dict[Tensor, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    calls: dict[str, int] = {}
    for layer in config["layers"]:
        calls[layer["name"]] = len(layer["inbound_nodes"])
        for node in layer["inbound_nodes"]:
            for tensor in tensors(node):
                users[tensor].append((layer["name"], node))
    current, output = _single(config["input_layers"]), _single(config["output_layers"])
    dropped: set[str] = set()
    while current is not None and current != output:
        using = users[current]
        # A layer that is called twice, or a value that two layers use, belongs to the network.
        if len(using) != 1 or calls[using[0][0]] != 1:
            break
        name, node = using[0]
        if not leading.absorb(operations[name], node):
            nested = _strip_nested(operations[name], leading)
            if nested is not None:
                changed = {} if nested is operations[name] else {name: nested}
                return FunctionalStart(frozenset(dropped), changed)
        dropped.add(name)
        current = (name, 0, 0)
    return FunctionalStart(frozenset(dropped), {}, current == output)


def tensors(node: object) -> Iterator[Tensor]:
    """The tensors that a call of a layer uses, by layer, call and output number."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from tensors(item)
    elif isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            name, call, output = node["config"]["keras_history"]
            yield name, call, output
        else:
            for value in node.values():
                yield from tensors(value)


def _single(layers: Any) -> Tensor | None:  # noqa: ANN401
    """The only tensor of a structure such as ["input", 0, 0] or [["input", 0, 0]]."""
    while isinstance(layers, list | tuple | dict):
        if isinstance(layers, list | tuple) and len(layers) == 3 and isinstance(layers[0], str):
            return layers[0], layers[1], layers[2]
        if len(layers) != 1:
            return None
        layers = next(iter(layers.values() if isinstance(layers, dict) else layers))
    return None


def layers_from_the_end(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """The layers that a model ends with, last first, as long as each has one input. Models are followed."""
    if type(model) is keras.Sequential:
        for layer in reversed(model.layers):
            yield from layers_from_the_end(layer)
    elif is_functional(model):
        config = model.get_config()
        operations = {operation.name: operation for operation in model.operations}
        nodes = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
        current = _single(config["output_layers"])
        while current is not None:
            name, call, _ = current
            if not nodes[name]:
                return
            yield from layers_from_the_end(operations[name])
            inputs = list(tensors(nodes[name][call]))
            current = inputs[0] if len(inputs) == 1 else None
        # Marks the end of what can be followed.
        yield None
    else:
        yield model
