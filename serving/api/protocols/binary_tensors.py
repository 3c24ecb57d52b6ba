"""The binary form of tensors in the Open Inference Protocol: little-endian, row by row, without padding."""

import re
from collections.abc import Iterable

from serving.api.errors import DocumentMalformed, TensorInvalid

# How many bytes of a body are the JSON document; the tensors follow it.
HEADER = "Inference-Header-Content-Length"
LENGTH = re.compile(r"[0-9]{1,12}")
# Before each element of the type BYTES.
PREFIX = 4


def split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """The document and what follows it; raises `DocumentMalformed`."""
    if header is None:
        return body, memoryview(b"")
    if not LENGTH.fullmatch(header) or int(header) > len(body):
        raise DocumentMalformed(
            f"{HEADER} must be a number up to the {len(body):,} bytes of the (unpacked) body"
        )
    return body[: int(header)], memoryview(body)[int(header) :]


def elements(tensor: memoryview, count: int) -> list[bytes]:
    """The `count` elements of a tensor of the type BYTES; raises `TensorInvalid`."""
    found: list[bytes] = []
    while len(found) < count:
        size = int.from_bytes(tensor[:PREFIX], "little")
        if len(tensor) < PREFIX + size or len(tensor) < PREFIX:
            raise TensorInvalid(f"it ends within element {len(found)} of {count}")
        found.append(bytes(tensor[PREFIX : PREFIX + size]))
        tensor = tensor[PREFIX + size :]
    if tensor:
        raise TensorInvalid(f"{len(tensor):,} bytes follow its last element")
    return found


def joined(found: Iterable[bytes]) -> bytes:
    """Elements of the type BYTES as one tensor."""
    return b"".join(len(element).to_bytes(PREFIX, "little") + element for element in found)
