"""How an image of any size becomes the model's input: the content of the bundle's `preprocessing.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

# "crop": the central part with the input's aspect ratio. "squash": the whole image, stretched. "pad": the
# whole image, with black bars, as Keras's `pad_to_aspect_ratio`.
Resize = Literal["crop", "squash", "pad"]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos"]

# The largest height and width. Networks for photos take 224 to 600 pixels; with more than this, an image
# could take longer than the server allows.
MAX_SIDE = 1024
# Bundles of format 1 have square inputs and this filter.
INTERPOLATION = "bicubic"


@dataclass(frozen=True)
class Preprocessing:
    """Turns an image into uint8 [height, width, channels]; 3 channels are RGB, 1 channel is grey.

    `crop` is the share of the largest central box that is kept; it is 1 unless `resize` is "crop". With
    `antialias`, Pillow's filters average all source pixels. Without it, and with "nearest", they take the
    nearest few, as `tf.image.resize` does.
    """

    height: int
    width: int
    channels: Literal[1, 3] = 3
    resize: Resize = "crop"
    crop: float = 1.0
    filter: Filter = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        sides, crop = (self.height, self.width), self.crop
        if any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in sides):
            raise ValueError(f"height and width are {sides}, and must be whole numbers from 1 to {MAX_SIDE}")
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels!r}, and must be 1 or 3")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize is {self.resize!r}, and must be one of {', '.join(get_args(Resize))}")
        if type(crop) not in (int, float) or not 0 < crop <= 1:
            raise ValueError(f"crop is {crop!r}, and must be above 0 and at most 1")
        if crop != 1 and self.resize != "crop":
            raise ValueError(f"crop is {crop!r}, and must be 1 where resize is {self.resize!r}")
        if self.filter not in get_args(Filter):
            raise ValueError(f"filter is {self.filter!r}, and must be one of {', '.join(get_args(Filter))}")
        if type(self.antialias) is not bool:
            raise ValueError(f"antialias is {self.antialias!r}, and must be true or false")

    @classmethod
    def square(cls, size: int, crop: float) -> Self:
        """What bundles of format 1 have: a central square, RGB, bicubic with antialiasing."""
        return cls(height=size, width=size, crop=crop)

    @classmethod
    def from_json(cls, document: Any, bundle_format: int) -> Self:  # noqa: ANN401  (checked here)
        """Parses `preprocessing.json` of a bundle of this format. Raises `ValueError` or `TypeError`."""
        if not isinstance(document, Mapping):
            raise TypeError(f"it holds a {type(document).__name__}, and not an object")
        if bundle_format == 1:
            return cls._from_format_1(**document)
        names = {field.name for field in fields(cls)}
        if unknown := sorted(document.keys() - names):
            raise ValueError(f"it has the unknown key {unknown[0]!r}")
        if missing := sorted(names - document.keys()):
            raise ValueError(f"it has no {missing[0]}")
        return cls(**document)

    @classmethod
    def _from_format_1(cls, size: int, crop: float, interpolation: str = INTERPOLATION) -> Self:
        if interpolation != INTERPOLATION:
            raise ValueError(f"interpolation is {interpolation!r}, and must be {INTERPOLATION}")
        return cls.square(size, crop)

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` parses in a bundle of the newest format."""
        return asdict(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one input: height, width and channels."""
        return self.height, self.width, self.channels

    @property
    def averages(self) -> bool:
        """Does every source pixel count? If so, a JPEG may be decoded at a fraction of its size."""
        return self.antialias and self.filter != "nearest"
