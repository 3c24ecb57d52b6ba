"""Binary tensors of the Open Inference Protocol: little-endian, row-major, without padding."""

import re
from collections.abc import Iterable

from serving.api.errors import DocumentMalformed, TensorInvalid

# The header with the length of the JSON document at the start of a body; the tensors follow it.
LENGTH_HEADER = "Inference-Header-Content-Length"
LENGTH = re.compile(r"[0-9]{1,12}")
# Bytes of the length before each element of the type BYTES.
LENGTH_BYTES = 4


def split_body(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """The JSON document and the binary data after it; raises `DocumentMalformed`."""
    if header is None:
        return body, memoryview(b"")
    if not LENGTH.fullmatch(header) or int(header) > len(body):
        raise DocumentMalformed(
            f"{LENGTH_HEADER} must be a number up to the {len(body):,} bytes of the (unpacked) body"
        )
    return body[: int(header)], memoryview(body)[int(header) :]


def parse_elements(tensor: memoryview, count: int) -> list[bytes]:
    """The `count` elements of a tensor of the type BYTES; raises `TensorInvalid`."""
    elements: list[bytes] = []
    while len(elements) < count:
        size = int.from_bytes(tensor[:LENGTH_BYTES], "little")
        if len(tensor) < LENGTH_BYTES + size or len(tensor) < LENGTH_BYTES:
            raise TensorInvalid(f"it ends within element {len(elements)} of {count}")
        elements.append(bytes(tensor[LENGTH_BYTES : LENGTH_BYTES + size]))
        tensor = tensor[LENGTH_BYTES + size :]
    if tensor:
        raise TensorInvalid(f"{len(tensor):,} bytes follow its last element")
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Elements as one tensor of the type BYTES."""
    return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in elements)
