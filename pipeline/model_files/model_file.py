"""What every format of model file offers: a description, and the network inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

# What the last layer gives: probabilities of all classes, their logits, or one probability or logit of the
# second of two classes.
Head = Literal["softmax", "logits", "sigmoid", "logit"]
Floats = npt.NDArray[np.float32]
# The input and output of the graphs of `ModelFile.to_onnx`.
VALUES, OUTPUTS = "values", "outputs"
# Characters of an exception's message that are shown.
MESSAGE_LENGTH = 300


@dataclass(frozen=True)
class Scaling:
    """An affine map of pixel values, one factor and one offset per channel: `factor * value + offset`."""

    factor: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class ResizeLayer:
    """A Keras `Resizing` layer at the start of a network, in the terms of `serving.model.decoder`."""

    height: int
    width: int
    resize: Literal["crop", "squash", "pad"]
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    antialias: bool


@dataclass(frozen=True)
class Description:
    """What a model file holds, as far as the file itself tells. No code of the file runs for it.

    Layers at the start that resize or scale pixels are described here and are not part of the network.
    `height` and `width` are None where the network takes any. `outputs` is the number of its columns.
    `head` is None where the file does not tell.
    """

    file: Path
    format: str  # as "Keras 3 file"
    framework: str  # the version that wrote it, as "Keras 3.15.1"; "" if unknown
    height: int | None
    width: int | None
    channels: Literal[1, 3]
    outputs: int
    head: Head | None
    resize: ResizeLayer | None
    scaling: Scaling | None
    notes: tuple[str, ...]  # one sentence for each thing that its owner should know


class ModelFile(Protocol):
    """An opened model file. Reading its weights starts with the first use of its network."""

    @property
    def description(self) -> Description: ...

    def predict(self, values: Floats) -> Floats:
        """Outputs [N,K] of the file's own framework, in inference mode, for scaled pixels [N,H,W,C]."""
        ...

    def to_onnx(self, height: int, width: int) -> bytes:
        """The network as an ONNX graph: `values` float32 [N,H,W,C] to `outputs` float32 [N,K], any N."""
        ...

    def to_keras(self, height: int, width: int) -> Any | None:  # noqa: ANN401
        """A Keras model of the same input and outputs that loads without custom code, or None."""
        ...


def short_message(error: BaseException) -> str:
    """The start of an exception's message in one line; those of libraries may have many."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MESSAGE_LENGTH else f"{text[:MESSAGE_LENGTH]}..."
