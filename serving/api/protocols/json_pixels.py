"""Pixels in JSON: whole numbers from 0 to 255, nested as [N,H,W,C] or flat.

A megapixel as nested Python lists would take 100 MB. So the nesting is checked on the bytes of the document,
and the numbers are parsed as one flat list.
"""

import math

import msgspec
import numpy as np

from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.model.decoder import Pixels

# Height, width and channels of an image.
Shape = tuple[int, int, int]

SPACE, DIGITS = b" \t\r\n", b"0123456789"


def parse_pixels(data: bytes, shape: Shape, limit: int, flat: bool = False) -> Pixels:
    """The pixels of at most `limit` images of this shape; with `flat` a flat list is accepted as well.

    `data` must be valid JSON. Raises `TensorInvalid` or `ImagesTooMany`.
    """
    text = data.translate(None, SPACE)
    brackets = text.translate(None, DIGITS)
    expected = f"whole numbers from 0 to 255, nested as {describe_shape(shape)}"
    numbers = brackets.count(b",") + 1
    count, rest = divmod(numbers, math.prod(shape))
    if rest or not count:
        raise TensorInvalid(f"{numbers:,} numbers are not {expected}")
    if count > limit:
        raise ImagesTooMany(count, limit)
    if brackets != _nested_brackets(count, shape) and not (flat and brackets == _flat_brackets(numbers)):
        raise TensorInvalid(f"these are not {expected}")
    try:
        values = msgspec.json.decode(b"[" + text.translate(None, b"[]") + b"]", type=list[int])
        pixels = bytes(values)
    except (ValueError, msgspec.DecodeError):
        raise TensorInvalid(f"a number lies outside; {expected} are wanted") from None
    return as_images(pixels, shape)


def as_images(pixels: bytes | memoryview, shape: Shape) -> Pixels:
    """Row-major bytes as uint8 [N,H,W,C]; their number must fit."""
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, *shape)


def describe_shape(shape: Shape) -> str:
    """The shape of a batch, as "[N,224,224,3]"."""
    return f"[N,{','.join(map(str, shape))}]"


def _flat_brackets(numbers: int) -> bytes:
    """The brackets and commas of a flat list."""
    return b"[" + b"," * (numbers - 1) + b"]"


def _nested_brackets(count: int, shape: Shape) -> bytes:
    """The brackets and commas of [N,H,W,C], which without digits have only one form."""
    brackets = b""
    for length in reversed((count, *shape)):
        brackets = b"[" + b",".join([brackets] * length) + b"]"
    return brackets
