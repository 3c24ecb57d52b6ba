"""Parses requests of TensorFlow Serving: rows, columns and examples, of encoded images or of pixels."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from serving.api.errors import DocumentMalformed, SignatureWrong
from serving.api.model_repository import ModelEntry
from serving.api.protocols import json_pixels
from serving.api.protocols.json_documents import (
    ALL_MARKS,
    OBJECT_MARKS,
    check_document,
    one_large_body_at_a_time,
    parse,
)
from serving.api.protocols.tensorflow_metadata import DEFAULT
from serving.model.decoder import Pixels


class Base64(Struct):
    """Bytes in JSON."""

    b64: bytes


class Instance(Struct):
    """One image: `{"b64": ...}`, alone or under the name of the input."""

    b64: bytes | None = None
    image_bytes: Base64 | None = None
    image: Base64 | None = None


class Columns(Struct):
    """One image, or several under the name of the input."""

    b64: bytes | None = None
    image_bytes: Base64 | list[Base64] | None = None
    image: Base64 | list[Base64] | None = None


# `Any`, because mypy does not accept the union as a type argument.
COLUMN: Any = Columns | list[Base64]


class PixelRow(Struct):
    """Pixels under the name of the input."""

    image: Raw


class PredictRequest(Struct):
    """Has either rows (`instances`) or columns (`inputs`)."""

    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    signature_name: str = ""


class ClassifyRequest(Struct):
    """The images to classify."""

    examples: list[Instance]
    signature_name: str = ""


@one_large_body_at_a_time
def parse_predict(body: bytes, entry: ModelEntry, limit: int) -> tuple[Sequence[bytes] | Pixels, bool]:
    """The images of a document, at most `limit`, and whether they were sent as rows."""
    check_document(body, limit, OBJECT_MARKS if entry.pixels else ALL_MARKS)
    document = parse(body, PredictRequest)
    _check_signature(document.signature_name)
    rows, columns = document.instances, document.inputs
    if isinstance(rows, Raw) and isinstance(columns, UnsetType):
        if entry.pixels:
            return json_pixels.parse_pixels(_pixels_of_rows(rows), entry.size, limit), True
        return [_image(instance) for instance in parse(rows, list[Instance])], True
    if isinstance(columns, Raw) and isinstance(rows, UnsetType):
        if entry.pixels:
            return json_pixels.parse_pixels(_pixels_of_column(columns), entry.size, limit), False
        return _column(parse(columns, COLUMN)), False
    raise DocumentMalformed("it must hold either instances or inputs")


def _pixels_of_rows(rows: Raw) -> bytes:
    data = bytes(rows)
    if not data[1:].lstrip(json_pixels.SPACE).startswith(b"{"):
        return data
    return b"[" + b",".join(bytes(row.image) for row in parse(rows, list[PixelRow])) + b"]"


def _pixels_of_column(column: Raw) -> bytes:
    data = bytes(column)
    return bytes(parse(column, PixelRow).image) if data.startswith(b"{") else data


@one_large_body_at_a_time
def parse_classify(body: bytes, limit: int) -> list[bytes]:
    """The images of a document, at most `limit`."""
    check_document(body, limit)
    document = parse(body, ClassifyRequest)
    _check_signature(document.signature_name)
    return [_image(example) for example in document.examples]


def _image(instance: Instance) -> bytes:
    (image,) = _column(Columns(instance.b64, instance.image_bytes, instance.image))
    return image


def _column(column: Columns | list[Base64]) -> list[bytes]:
    if isinstance(column, list):
        return [image.b64 for image in column]
    named = [value for value in (column.image_bytes, column.image) if value is not None]
    if len(named) + (column.b64 is not None) != 1:
        raise DocumentMalformed('an image is {"b64": ...}, alone or under the name image_bytes')
    if column.b64 is not None:
        return [column.b64]
    return _column(named[0]) if isinstance(named[0], list) else [named[0].b64]


def _check_signature(name: str) -> None:
    if name not in ("", DEFAULT):
        raise SignatureWrong("The model has no signature of this name")
