"""What the columns of a Keras network are: probabilities or logits, of all classes or the second of two."""

from pathlib import Path
from typing import Any

from pipeline.errors import NetworkUnsuitable
from pipeline.model_files.leading_layers import layers_from_the_end
from pipeline.model_files.model_file import Head

# Layers and operations that only change the shape, or nothing outside training.
SHAPE_ONLY = frozenset(
    [
        "Cast",
        "Dropout",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GlobalAveragePooling2D",
        "Identity",
        "Reshape",
        "SpatialDropout2D",
        "Squeeze",
    ]
)
# Layers that multiply by weights, so that nothing before them tells what comes out.
WEIGHTED = frozenset(["Conv2D", "Dense", "EinsumDense"])
OPERATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}


def find_head(model: Any, columns: int, path: Path) -> tuple[Head | None, list[str]]:  # noqa: ANN401
    """The head of a model with that many columns, and notes; None if its layers do not tell.

    Raises `NetworkUnsuitable` for a head that no choice of one class fits.
    """
    activation, layer = last_activation(model)
    if activation is None:
        found = f"The last layer, {layer}, does not tell" if layer else "The layers do not tell"
        return None, [f"{found} whether the outputs are probabilities or logits: declare build.head."]
    if activation == "linear":
        return "logit" if columns == 1 else "logits", []
    if activation == "softmax":
        if columns == 1:
            raise NetworkUnsuitable(
                path,
                f"layer {layer} is a softmax over one column, which is 1 for every image",
                "Two classes need two columns with softmax or one with sigmoid; train it again with that",
            )
        return "softmax", []
    if activation == "log_softmax" and columns > 1:
        return "logits", [f"Layer {layer} gives logarithms of probabilities, which count as logits."]
    if activation == "sigmoid":
        if columns == 1:
            return "sigmoid", []
        raise NetworkUnsuitable(
            path,
            f"layer {layer} has {columns} sigmoids, each an answer of its own, so an image can have several "
            "labels or none (multi-label)",
            "Only one class of several can be served; if exactly one is right for each image, train it with "
            "softmax and categorical_crossentropy",
        )
    return None, [f"Layer {layer} ends with {activation}, which is no usual head: declare build.head."]


def last_activation(model: Any) -> tuple[str | None, str]:  # noqa: ANN401
    """The name of the function that gives the outputs, and of its layer; None if it cannot be known."""
    for layer in layers_from_the_end(model):
        if layer is None:
            break
        kind, name = type(layer).__name__, repr(layer.name)
        if type(layer).__module__.split(".")[0] != "keras":
            return None, name
        if kind in OPERATIONS:
            # Over another axis than the classes, it gives no probabilities of them.
            last = getattr(layer, "axis", -1) in (-1, 1, 3)
            return (OPERATIONS[kind] if last else None), name
        if kind in WEIGHTED or kind == "Activation":
            function = getattr(layer.activation, "__name__", "")
            if kind in WEIGHTED or function != "linear":
                return function or None, name
        elif kind not in SHAPE_ONLY:
            return None, name
    return None, ""
