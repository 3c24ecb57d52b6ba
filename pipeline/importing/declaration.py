"""How an imported network takes its pixels, as params.yaml declares it.

Formulas of `caffe` and `torch`: `keras.applications.imagenet_utils.preprocess_input`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import DeclarationImpossible
from pipeline.model_files.model_file import Description, Scaling
from pipeline.params import Import, MeanStd, Scale
from serving.model.decoder import Preprocessing

Channels = Literal["RGB", "BGR", "grey"]

# Means and standard deviations of ImageNet's red, green and blue: of pixels 0 to 255 without division, and of
# pixels divided by 255.
CAFFE_MEAN = (123.68, 116.779, 103.939)
TORCH = MeanStd(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Declaration:
    """One way to prepare pixels: decoding and resizing, channel order, and scaling."""

    preprocessing: Preprocessing
    channels: Channels
    scale: Scale

    @classmethod
    def from_params(cls, settings: Import) -> "Declaration":
        """The declaration of a section `build` in params.yaml."""
        height, width = settings.size
        preprocessing = Preprocessing(
            height=height,
            width=width,
            channels=1 if settings.channels == "grey" else 3,
            resize=settings.resize,
            crop=settings.crop,
            filter=settings.filter,
            antialias=settings.antialias,
        )
        return cls(preprocessing, settings.channels, settings.scale)

    def scaling(self, description: Description) -> Scaling:
        """The affine map for each channel, in the network's order of channels.

        Raises `DeclarationImpossible` for a scale that this network cannot have.
        """
        if self.scale == "inside":
            if description.scaling is None:
                raise DeclarationImpossible(
                    description.file,
                    "scale: inside",
                    "the file has no layer at its start that scales pixels",
                    "Name the scale of its training; `python -m pipeline inspect` finds it on photos.",
                )
            return description.scaling
        if self.channels == "grey":
            factor, offset = _per_colour(self.scale)
            if len({*factor}) > 1 or len({*offset}) > 1:
                raise DeclarationImpossible(
                    description.file,
                    f"scale: {format_scale(self.scale)}",
                    "it has a value for each colour, and the network takes one channel",
                    "Use [0, 1], [-1, 1] or none.",
                )
            return Scaling(factor[:1], offset[:1])
        factor, offset = _per_colour(self.scale)
        order = slice(None, None, -1) if self.channels == "BGR" else slice(None)
        return Scaling(factor[order], offset[order])


def describe(declaration: Declaration) -> dict[str, Any]:
    """The keys and values of params.yaml for a declaration."""
    preprocessing = declaration.preprocessing
    return {
        "size": [preprocessing.height, preprocessing.width],
        "resize": preprocessing.resize,
        "crop": preprocessing.crop,
        "filter": preprocessing.filter,
        "antialias": preprocessing.antialias,
        "channels": declaration.channels,
        "scale": declaration.scale.model_dump()
        if isinstance(declaration.scale, MeanStd)
        else declaration.scale,
    }


def format_scale(scale: Scale) -> str:
    """A scale as params.yaml has it: `[-1, 1]`, `torch`, `{mean: [...], std: [...]}`."""
    if isinstance(scale, str):
        return scale
    if isinstance(scale, MeanStd):
        return f"{{mean: {_format_numbers(scale.mean)}, std: {_format_numbers(scale.std)}}}"
    return _format_numbers(scale)


def _format_numbers(numbers: list[float]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _per_colour(scale: Scale) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factors and offsets for red, green and blue, of pixels 0 to 255."""
    if scale == "none":
        return (1.0,) * 3, (0.0,) * 3
    if scale == "caffe":
        return (1.0,) * 3, tuple(-mean for mean in CAFFE_MEAN)
    if scale == "torch":
        scale = TORCH
    if isinstance(scale, MeanStd):
        pairs = list(zip(scale.mean, scale.std, strict=True))
        return tuple(1 / (255 * std) for _, std in pairs), tuple(-mean / std for mean, std in pairs)
    if isinstance(scale, str):
        raise ValueError(f"{scale} is no map of pixels by itself")
    low, high = scale
    return ((high - low) / 255,) * 3, (float(low),) * 3
