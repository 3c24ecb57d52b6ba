"""TensorFlow Serving's REST API, and the first protocol of KServe, which shares its paths.

Nothing is decided by Content-Type: its documented `curl -d` says that a form is coming.
"""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, request
from msgspec import UNSET, Raw, Struct, UnsetType

from serving.api.body import Environ
from serving.api.errors import DocumentMalformed, NotReady, SignatureWrong
from serving.api.protocols import pixels, signatures
from serving.api.protocols.documents import ALL, OBJECTS, bound, parse
from serving.api.respond import json
from serving.api.service import Service
from serving.decoder import Pixels

PREFIX = "/v1"


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


class Rows(Struct):
    """Probabilities of each image, in the order of the labels."""

    predictions: list[list[float]]


class Column(Struct):
    """The same, in answer to columns."""

    outputs: list[list[float]]


class Classes(Struct):
    """Label and probability of all classes for each image, best first."""

    results: list[list[list[str | float]]]


def routes(service: Service) -> Blueprint:
    """Status, metadata and predictions, for the model as such, its version or its label."""
    blueprint = Blueprint("tensorflow_serving", __name__)
    find = service.catalogue.find

    @blueprint.get("/v1/models")
    def models() -> Response:
        return json(signatures.Names([entry.name for entry in service.catalogue.entries]))

    @blueprint.get("/v1/models/<word:name>")
    @blueprint.get("/v1/models/<word:name>/versions/<word:version>")
    @blueprint.get("/v1/models/<word:name>/labels/<word:label>")
    def status(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        if service.drain.begun:
            raise NotReady
        return json(signatures.status(entry))

    @blueprint.get("/v1/models/<word:name>/metadata")
    @blueprint.get("/v1/models/<word:name>/versions/<word:version>/metadata")
    @blueprint.get("/v1/models/<word:name>/labels/<word:label>/metadata")
    def metadata(name: str, version: str | None = None, label: str | None = None) -> Response:
        return json(signatures.metadata(find(name, version, label)))

    @blueprint.post("/v1/models/<word:name>:predict")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:predict")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:predict")
    def predict(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        with service.body(request) as held:
            images, rows = _read(held.take(), entry.pixels, service)
            answers = [answer.tolist() for answer in service.classify(request, images)]
        return json(Rows(answers) if rows else Column(answers))

    @blueprint.post("/v1/models/<word:name>:classify")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:classify")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:classify")
    def classify(name: str, version: str | None = None, label: str | None = None) -> Response:
        if find(name, version, label).pixels:
            raise SignatureWrong("This model takes tensors, and classify takes examples")
        with service.body(request) as held:
            images = _examples(held.take(), service.settings.max_images)
            answers = service.classify(request, images)
        top, classes = service.predictor.top, len(service.predictor.labels)
        return json(Classes([[[best.label, best.score] for best in top(a, classes)] for a in answers]))

    @blueprint.post("/v1/models/<word:name>:regress")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:regress")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:regress")
    def regress(name: str, version: str | None = None, label: str | None = None) -> Response:
        find(name, version, label)
        raise SignatureWrong("This model classifies and has no regression")

    return blueprint


def any_case(environ: Environ) -> None:
    """Writes the words of a path in small letters, as this API takes them in any case. Names stay."""
    parts = environ["PATH_INFO"].split("/")
    if [part.lower() for part in parts[1:3]] != ["v1", "models"]:
        return
    for place, part in enumerate(parts):
        name, colon, verb = part.partition(":") if place in (3, 5) else ("", "", part)
        parts[place] = name + colon + verb.lower()
    environ["PATH_INFO"] = "/".join(parts)


def _read(body: bytes, as_pixels: bool, service: Service) -> tuple[Sequence[bytes] | Pixels, bool]:
    """The images of a document; and were they rows?"""
    limit = service.settings.max_images
    bound(body, limit, OBJECTS if as_pixels else ALL)
    question = parse(body, PredictRequest)
    _check_signature(question.signature_name)
    rows, columns = question.instances, question.inputs
    size = service.predictor.preprocessing.size
    if isinstance(rows, Raw) and isinstance(columns, UnsetType):
        if as_pixels:
            return pixels.from_json(_rows_of_pixels(rows), size, limit), True
        return [_image(instance) for instance in parse(rows, list[Instance])], True
    if isinstance(columns, Raw) and isinstance(rows, UnsetType):
        if as_pixels:
            return pixels.from_json(_column_of_pixels(columns), size, limit), False
        return _column(parse(columns, COLUMN)), False
    raise DocumentMalformed("it must hold either instances or inputs")


def _rows_of_pixels(rows: Raw) -> bytes:
    data = bytes(rows)
    if not data[1:].lstrip(pixels.SPACE).startswith(b"{"):
        return data
    return b"[" + b",".join(bytes(row.image) for row in parse(rows, list[Named])) + b"]"


def _column_of_pixels(column: Raw) -> bytes:
    data = bytes(column)
    return bytes(parse(column, Named).image) if data.startswith(b"{") else data


def _examples(body: bytes, limit: int) -> list[bytes]:
    bound(body, limit)
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
    if name not in ("", signatures.DEFAULT):
        raise SignatureWrong("The model has no signature of this name")
