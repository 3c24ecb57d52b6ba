"""Parses JSON from clients: strict types, unknown members ignored, memory limited.

Python's objects for `[[],[],...]` take twenty times its bytes. So the size of the result is limited before a
document is parsed, by counting brackets and commas: every list and object has a bracket, and every value but
the first a comma.
"""

import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from serving.api.errors import DocumentMalformed, ImageUrlRefused, RequestError
from serving.api.image_urls import contains_url
from serving.server.thread_pool import acquire_yielding_slot

Document = TypeVar("Document")
Result = TypeVar("Result")
More = ParamSpec("More")

# Brackets and commas that a document may have for each image, and in addition.
MARKS_PER_IMAGE, MORE_MARKS = 16, 1000
# The marks that are counted: all, or only objects where the numbers of pixels are checked elsewhere.
ALL_MARKS, OBJECT_MARKS = (b"{", b"[", b","), (b"{",)
# The line breaks that MIME (RFC 2045) puts into base64 after each 76 characters, as JSON escapes them.
LINE_BREAKS = (rb"\r\n", rb"\n")
# Bytes of a document that are decoded at once when its UTF-8 is checked.
PIECE = 64 * 1024
NOT_BASE64 = "an image is not plain base64 with the alphabet + and / and its padding"
# Characters of the parser's message that are passed on; it may repeat a name that the client has sent.
MAX_REASON = 160

# msgspec and the standard library hold the GIL while they process a body, which stops all other threads,
# health checks included. Bodies larger than this are parsed one at a time: several could block for seconds.
LARGE_BODY, LARGE_BODY_LOCK = 2**20, threading.Lock()


def one_large_body_at_a_time(
    parse: Callable[Concatenate[bytes, More], Result],
) -> Callable[Concatenate[bytes, More], Result]:
    """Decorator for functions that parse a body: large bodies are parsed one at a time."""

    @wraps(parse)
    def wrapper(body: bytes, /, *arguments: More.args, **named: More.kwargs) -> Result:
        with acquire_yielding_slot(LARGE_BODY_LOCK) if len(body) > LARGE_BODY else nullcontext():
            return parse(body, *arguments, **named)

    return wrapper


def check_document(body: bytes, images: int, marks: Sequence[bytes] = ALL_MARKS) -> None:
    """Raises `DocumentMalformed` if a document is not UTF-8, or larger than that number of images needs."""
    # The parser does not check the encoding of members that it skips.
    if not body.isascii() and not _is_utf_8(body):
        raise DocumentMalformed("it is not UTF-8")
    if sum(body.count(mark) for mark in marks) > MARKS_PER_IMAGE * images + MORE_MARKS:
        raise DocumentMalformed(f"it holds more than {images} images can need")


def _is_utf_8(body: bytes) -> bool:
    """Decodes in pieces: a single str would take up to four times the memory."""
    decoder, data = getincrementaldecoder("utf-8")(), memoryview(body)
    try:
        for start in range(0, len(data), PIECE):
            decoder.decode(data[start : start + PIECE], final=start + PIECE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def parse(body: bytes | msgspec.Raw, kind: type[Document]) -> Document:
    """The document as an object of the type `kind`, whose members of type `bytes` are base64 in JSON.

    Raises `DocumentMalformed`, or `ImageUrlRefused` if it seems to have a URL in place of base64.
    """
    try:
        return _decode(body, kind)
    except DocumentMalformed as error:
        # Some encoders break base64 into lines; that is tried second, because it copies the document.
        data = bytes(body)
        if not any(line_break in data for line_break in LINE_BREAKS):
            raise _url_or_malformed(error, data) from None
    for line_break in LINE_BREAKS:
        data = data.replace(line_break, b"")
    try:
        return _decode(data, kind)
    except DocumentMalformed as error:
        raise _url_or_malformed(error, data) from None


def _url_or_malformed(error: DocumentMalformed, data: bytes) -> RequestError:
    return ImageUrlRefused() if NOT_BASE64 in str(error) and contains_url(data) else error


def _decode(data: bytes | msgspec.Raw, kind: type[Document]) -> Document:
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise DocumentMalformed("it is nested too deeply") from None
    # `ValueError`, because msgspec also raises others than its own subclass of it.
    except ValueError as error:
        raise DocumentMalformed(_reason(str(error))) from None


def _reason(message: str) -> str:
    """The parser's message in words that do not require knowing msgspec."""
    if "base64" in message:
        return NOT_BASE64 + _position(message)
    return message[0].lower() + message[1:MAX_REASON].replace("`", "").rstrip(".")


def _position(message: str) -> str:
    _, dash, position = message.partition(" - at ")
    return f" (at {position[:MAX_REASON].replace('`', '')})" if dash else ""
