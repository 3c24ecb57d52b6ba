"""What TensorFlow Serving is asked: rows, columns and examples, of images or of pixels."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from serving.api.errors import DocumentMalformed, SignatureWrong
from serving.api.model_repository import Entry
from serving.api.protocols import json_pixels
from serving.api.protocols.json_documents import ALL, OBJECTS, check, in_turn, parse
from serving.api.protocols.tensorflow_metadata import DEFAULT
from serving.model.decoder import Pixels


class Base64(Struct):
    """Bytes, as JSON can hold them."""

    b64: bytes


class Instance(Struct):
    """One image: `{"b64": ...}`, alone or under the name of the input."""

    b64: bytes | None = None
    image_bytes: Base64 | None = None
    image: Base64 | None = None


class Columns(Struct):
    """The same, or several under the name of the input."""

    b64: bytes | None = None
    image_bytes: Base64 | list[Base64] | None = None
    image: Base64 | list[Base64] | None = None


# Which a type checker does not take for a type.
COLUMN: Any = Columns | list[Base64]


class Named(Struct):
    """Pixels under the name of the input."""

    image: Raw


class PredictRequest(Struct):
    """Either rows or columns."""

    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    signature_name: str = ""


class ClassifyRequest(Struct):
    """What is to be classified."""

    examples: list[Instance]
    signature_name: str = ""


@in_turn
def read(body: bytes, entry: Entry, limit: int) -> tuple[Sequence[bytes] | Pixels, bool]:
    """The images of a document, at most `limit` of them; and were they rows?"""
    check(body, limit, OBJECTS if entry.pixels else ALL)
    question = parse(body, PredictRequest)
    _check_signature(question.signature_name)
    rows, columns = question.instances, question.inputs
    if isinstance(rows, Raw) and isinstance(columns, UnsetType):
        if entry.pixels:
            return json_pixels.from_json(_rows_of_pixels(rows), entry.size, limit), True
        return [_image(instance) for instance in parse(rows, list[Instance])], True
    if isinstance(columns, Raw) and isinstance(rows, UnsetType):
        if entry.pixels:
            return json_pixels.from_json(_column_of_pixels(columns), entry.size, limit), False
        return _column(parse(columns, COLUMN)), False
    raise DocumentMalformed("it must hold either instances or inputs")


def _rows_of_pixels(rows: Raw) -> bytes:
    data = bytes(rows)
    if not data[1:].lstrip(json_pixels.SPACE).startswith(b"{"):
        return data
    return b"[" + b",".join(bytes(row.image) for row in parse(rows, list[Named])) + b"]"


def _column_of_pixels(column: Raw) -> bytes:
    data = bytes(column)
    return bytes(parse(column, Named).image) if data.startswith(b"{") else data


@in_turn
def examples(body: bytes, limit: int) -> list[bytes]:
    """The images that are to be classified."""
    check(body, limit)
    document = parse(body, ClassifyRequest)
    _check_signature(document.signature_name)
    return [_image(example) for example in document.examples]


def _image(instance: Instance) -> bytes:
    (found,) = _column(Columns(instance.b64, instance.image_bytes, instance.image))
    return found


def _column(given: Columns | list[Base64]) -> list[bytes]:
    if isinstance(given, list):
        return [image.b64 for image in given]
    named = [value for value in (given.image_bytes, given.image) if value is not None]
    if len(named) + (given.b64 is not None) != 1:
        raise DocumentMalformed('an image is {"b64": ...}, alone or under the name image_bytes')
    if given.b64 is not None:
        return [given.b64]
    return _column(named[0]) if isinstance(named[0], list) else [named[0].b64]


def _check_signature(name: str) -> None:
    if name not in ("", DEFAULT):
        raise SignatureWrong("The model has no signature of this name")
