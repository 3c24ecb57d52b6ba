"""JSON from clients: strict where it matters, blind to members that are not known, and bounded in memory.

Python's objects for `[[],[],...]` take twenty times its bytes. So what a document may hold is counted before
it is parsed: no list and no object is there without its bracket, no value beyond the first without a comma.
"""

import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from serving.api.errors import DocumentMalformed, ImageUrlRefused, RequestError
from serving.api.image_urls import holds_url
from serving.server.thread_pool import acquire_yielding_slot

Document = TypeVar("Document")
Found = TypeVar("Found")
More = ParamSpec("More")

# What one image may need of brackets and commas, and a whole document besides.
EACH, BESIDES = 16, 1000
# Of everything, or of objects alone where numbers are counted elsewhere.
ALL, OBJECTS = (b"{", b"[", b","), (b"{",)
# What RFC 2045 puts into base64 after each 76 characters, as JSON writes it.
BREAKS = (rb"\r\n", rb"\n")
# Bytes of a document that are decoded at once, to see whether they are UTF-8.
PIECE = 64 * 1024
NOT_BASE64 = "an image is not plain base64 with the alphabet + and / and its padding"
# Characters of what the parser says, which may repeat a name of the client's.
REASON = 160


# No other thread runs while a library looks through megabytes, health checks neither. So large bodies, by
# this measure, take turns: many at once would hold up everybody for seconds.
LARGE, TURN = 2**20, threading.Lock()


def in_turn(read: Callable[Concatenate[bytes, More], Found]) -> Callable[Concatenate[bytes, More], Found]:
    """Has a function that reads a body do so while it is the only one, if the body is large."""

    @wraps(read)
    def reading(body: bytes, /, *arguments: More.args, **named: More.kwargs) -> Found:
        with acquire_yielding_slot(TURN) if len(body) > LARGE else nullcontext():
            return read(body, *arguments, **named)

    return reading


def check(body: bytes, images: int, marks: Sequence[bytes] = ALL) -> None:
    """Raises `DocumentMalformed` if a document is no UTF-8, or holds more than so many images can need."""
    # The parser does not look into what it passes over, and what is not known is passed over.
    if not body.isascii() and not _is_utf_8(body):
        raise DocumentMalformed("it is not UTF-8")
    if sum(body.count(mark) for mark in marks) > EACH * images + BESIDES:
        raise DocumentMalformed(f"it holds more than {images} images can need")


def _is_utf_8(body: bytes) -> bool:
    """In pieces: as one text it would take up to four times its bytes."""
    decoder, data = getincrementaldecoder("utf-8")(), memoryview(body)
    try:
        for start in range(0, len(data), PIECE):
            decoder.decode(data[start : start + PIECE], final=start + PIECE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def parse(body: bytes | msgspec.Raw, kind: type[Document]) -> Document:
    """The document, whose members of the type `bytes` are base64.

    Raises `DocumentMalformed`, or `ImageUrlRefused` if an address may stand where base64 should.
    """
    try:
        return _decode(body, kind)
    except DocumentMalformed as error:
        # Some encoders break base64 into lines, which is looked for only if nothing else helps.
        data = bytes(body)
        if not any(line_break in data for line_break in BREAKS):
            raise _refusal(error, data) from None
    for line_break in BREAKS:
        data = data.replace(line_break, b"")
    try:
        return _decode(data, kind)
    except DocumentMalformed as error:
        raise _refusal(error, data) from None


def _refusal(error: DocumentMalformed, data: bytes) -> RequestError:
    return ImageUrlRefused() if NOT_BASE64 in str(error) and holds_url(data) else error


def _decode(data: bytes | msgspec.Raw, kind: type[Document]) -> Document:
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise DocumentMalformed("it is nested too deeply") from None
    # Not all that the parser raises is an error of its own.
    except ValueError as error:
        raise DocumentMalformed(_readable(str(error))) from None


def _readable(reason: str) -> str:
    """What the parser says, in words that do not need it to be known."""
    if "base64" in reason:
        return NOT_BASE64 + _place(reason)
    return reason[0].lower() + reason[1:REASON].replace("`", "").rstrip(".")


def _place(reason: str) -> str:
    _, dash, place = reason.partition(" - at ")
    return f" (at {place[:REASON].replace('`', '')})" if dash else ""
