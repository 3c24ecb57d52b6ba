"""Pixels that come as JSON: whole numbers from 0 to 255, nested as [N,S,S,3] or flat.

A megapixel as lists of Python would take 100 MB. Here the brackets are compared as bytes, and the numbers go
from one flat list into the array.
"""

import msgspec
import numpy as np

from serving.api.errors import ImagesTooMany, TensorInvalid
from serving.model.decoder import Pixels

SPACE, DIGITS = b" \t\r\n", b"0123456789"
CHANNELS = 3


def from_json(data: bytes, size: int, limit: int, flat: bool = False) -> Pixels:
    """The pixels of valid JSON, of at most `limit` images, which may be `flat`, too.

    Raises `TensorInvalid` or `ImagesTooMany`.
    """
    text = data.translate(None, SPACE)
    brackets = text.translate(None, DIGITS)
    wanted = f"whole numbers from 0 to 255, nested as [N,{size},{size},{CHANNELS}]"
    numbers = brackets.count(b",") + 1
    count, rest = divmod(numbers, size * size * CHANNELS)
    if rest or not count:
        raise TensorInvalid(f"{numbers:,} numbers are not {wanted}")
    if count > limit:
        raise ImagesTooMany(count, limit)
    if brackets != _nested(count, size) and not (flat and brackets == _flat(numbers)):
        raise TensorInvalid(f"these are not {wanted}")
    try:
        values = msgspec.json.decode(b"[" + text.translate(None, b"[]") + b"]", type=list[int])
        pixels = bytes(values)
    except (ValueError, msgspec.DecodeError):
        raise TensorInvalid(f"a number lies outside; {wanted} are wanted") from None
    return shaped(pixels, size)


def shaped(pixels: bytes | memoryview, size: int) -> Pixels:
    """Bytes in the order of rows as uint8 [N,S,S,3]; their number must be right."""
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, size, size, CHANNELS)


def _flat(numbers: int) -> bytes:
    return b"[" + b"," * (numbers - 1) + b"]"


def _nested(count: int, size: int) -> bytes:
    """The brackets and commas of [count,size,size,3]: without digits there is one way to write them."""
    found = b""
    for length in (CHANNELS, size, size, count):
        found = b"[" + b",".join([found] * length) + b"]"
    return found
