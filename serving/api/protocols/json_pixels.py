"""Pixels in JSON: whole numbers from 0 to 255, nested as [N,S,S,3] or flat.

A megapixel as nested Python lists would take 100 MB. So the nesting is checked on the bytes of the document,
and the numbers are parsed as one flat list.
"""

import msgspec
import numpy as np

from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.model.decoder import Pixels

SPACE, DIGITS = b" \t\r\n", b"0123456789"
CHANNELS = 3


def parse_pixels(data: bytes, size: int, limit: int, flat: bool = False) -> Pixels:
    """The pixels of at most `limit` images of `size` x `size`; with `flat` a flat list is accepted as well.

    `data` must be valid JSON. Raises `TensorInvalid` or `ImagesTooMany`.
    """
    text = data.translate(None, SPACE)
    brackets = text.translate(None, DIGITS)
    expected = f"whole numbers from 0 to 255, nested as [N,{size},{size},{CHANNELS}]"
    numbers = brackets.count(b",") + 1
    count, rest = divmod(numbers, size * size * CHANNELS)
    if rest or not count:
        raise TensorInvalid(f"{numbers:,} numbers are not {expected}")
    if count > limit:
        raise ImagesTooMany(count, limit)
    if brackets != _nested_brackets(count, size) and not (flat and brackets == _flat_brackets(numbers)):
        raise TensorInvalid(f"these are not {expected}")
    try:
        values = msgspec.json.decode(b"[" + text.translate(None, b"[]") + b"]", type=list[int])
        pixels = bytes(values)
    except (ValueError, msgspec.DecodeError):
        raise TensorInvalid(f"a number lies outside; {expected} are wanted") from None
    return as_images(pixels, size)


def as_images(pixels: bytes | memoryview, size: int) -> Pixels:
    """Row-major bytes as uint8 [N,S,S,3]; their number must fit."""
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, size, size, CHANNELS)


def _flat_brackets(numbers: int) -> bytes:
    """The brackets and commas of a flat list."""
    return b"[" + b"," * (numbers - 1) + b"]"


def _nested_brackets(count: int, size: int) -> bytes:
    """The brackets and commas of [count,size,size,3], which without digits have only one form."""
    brackets = b""
    for length in (CHANNELS, size, size, count):
        brackets = b"[" + b",".join([brackets] * length) + b"]"
    return brackets
