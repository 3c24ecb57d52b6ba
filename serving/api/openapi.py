"""The OpenAPI document: the classes of `answers.py` are its schemas, the trees of errors its refusals.

Two extensions serve the page /docs: `x-curl`, a command that works, and `x-errors`, all codes.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from serving.api import answers, errors
from serving.api.metrics import CONTENT_TYPE
from serving.api.service import Service
from serving.api.trace import REQUEST_ID
from serving.decoder import ACCEPTED
from serving.errors import ImageError
from serving.problem import Problem

Document = dict[str, Any]
Kind = type[ImageError] | type[errors.RequestError]
JSON, HTML = "application/json", "text/html"
PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
SCHEMAS = (
    answers.Outcome,
    answers.Predictions,
    answers.Alive,
    answers.Ready,
    answers.Version,
    answers.ModelCard,
    answers.ProblemDetails,
)

INFO = """\
Classifies images. Send a form with the file in the field `image`, or the image itself as the body.
Every answer names the model that gave it in X-Model-Name, X-Model-Version and X-Model-Digest.
Images are neither stored nor logged."""

SECONDS: Document = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
COMMON = ("X-Model-Name", "X-Model-Version", "X-Model-Digest", "X-Request-Id")

# What may happen to a request with a body, besides being answered.
SENDING = (
    errors.BodyIncomplete, errors.BodyMalformed, errors.BodyTooLarge, errors.BodyTooSlow, errors.ClientGone,
    errors.DeadlineExceeded, errors.ImageMissing, errors.ImagesTooMany, errors.MultipartMalformed,
    errors.ServerBusy,
)  # fmt: skip


def document(service: Service) -> Document:
    """All routes of this server, as it is set."""
    schemas, components = msgspec.json.schema_components(SCHEMAS, ref_template="#/components/schemas/{name}")
    named = dict(zip((kind.__name__ for kind in SCHEMAS), schemas, strict=True))
    pin = service.release.pin
    described: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": f"Goldfish: {pin.name}",
            "version": f"{pin.version}+{pin.digest[:12]}",
            "description": INFO,
        },
        "paths": _paths(service, named),
        "components": {"schemas": components, "headers": _headers()},
        "x-errors": [_row(error) for error in every_error()],
    }
    if service.access.wants_key:
        described["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    return described


def every_error() -> list[Kind]:
    """All that a request can be answered with besides 200, by status and code."""
    kinds: list[Kind] = [*ImageError.__subclasses__(), *errors.RequestError.__subclasses__()]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def _paths(service: Service, named: Document) -> Document:
    return {
        "/": {"get": _page("Is it there?", named["Outcome"], "curl {url}/")},
        "/inference": {"post": _inference(service)},
        "/predict": {"post": _predict(service, named)},
        "/livez": {"get": _plain("Is the process alive?", named["Alive"])},
        "/readyz": {"get": _plain("Does it answer as it was measured?", named["Ready"], errors.NotReady)},
        "/version": {"get": _plain("Who answers?", named["Version"])},
        "/model": {"get": _page("What is known of the model?", named["ModelCard"], "curl {url}/model")},
        "/metrics": {"get": _other("How busy is it?", "Series for Prometheus.", CONTENT_TYPE)},
        "/docs": {"get": _other("This documentation, to be read.", "A page.", HTML)},
        "/openapi.json": {"get": _other("This documentation, for programs.", "An OpenAPI document.", JSON)},
    }


def _inference(service: Service) -> Document:
    schema = {
        "type": "object",
        "description": "Class name to confidence, the five best, best first.",
        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        "minProperties": 1,
        "maxProperties": 5,
    }
    return {
        "summary": "The five best classes of one image.",
        "description": f"The image may be {ACCEPTED}; of an animation the first frame counts.",
        "operationId": "inference",
        "requestBody": _image(1),
        "responses": _responses(_answer(schema), _sending(service)),
        "x-curl": f"curl {_key(service)}-F image=@photo.jpg {{url}}/inference",
        **_security(service),
    }


def _predict(service: Service, named: Document) -> Document:
    classes = len(service.predictor.labels)
    return {
        "summary": "The best classes of one or several images, and who says so.",
        "description": f"Up to {service.settings.max_images} images in one form; all are answered, or none.",
        "operationId": "predict",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "How many classes of each image.",
                "schema": {"type": "integer", "minimum": 1, "maximum": classes, "default": min(5, classes)},
            }
        ],
        "requestBody": _image(service.settings.max_images),
        "responses": _responses(_answer(named["Predictions"]), (*_sending(service), errors.ParameterInvalid)),
        "x-curl": f"curl {_key(service)}-F image=@one.jpg -F image=@two.png '{{url}}/predict?top=3'",
        **_security(service),
    }


def _image(limit: int) -> Document:
    """A form with one or several files, or a single image as it is."""
    one = {"type": "string", "contentMediaType": "image/*", "description": f"{ACCEPTED}."}
    field = one if limit == 1 else {"type": "array", "items": one, "minItems": 1, "maxItems": limit}
    form = {"type": "object", "properties": {"image": field}, "required": ["image"]}
    content: Document = {
        "multipart/form-data": {"schema": form, "encoding": {"image": {"contentType": ", ".join(PICTURES)}}}
    }
    return {"required": True, "content": content | {kind: {} for kind in PICTURES}}


def _plain(summary: str, schema: Document, *refusals: type[errors.RequestError]) -> Document:
    return {"summary": summary, "responses": _responses(_answer(schema), refusals)}


def _page(summary: str, schema: Document, curl: str) -> Document:
    content = {JSON: {"schema": schema}, HTML: {"schema": {"type": "string"}}}
    described = {"description": "JSON; to a browser a page.", "content": content}
    return {"summary": summary, "responses": _responses(described, ()), "x-curl": curl}


def _other(summary: str, description: str, kind: str) -> Document:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    answer = {"description": description, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": _responses(answer, ())}


def _answer(schema: Document) -> Document:
    return {"description": "The answer.", "content": {JSON: {"schema": schema}}}


def _sending(service: Service) -> tuple[Kind, ...]:
    wanted: list[Kind] = [*ImageError.__subclasses__(), *SENDING]
    if service.access.wants_key:
        wanted += [errors.KeyMissing, errors.KeyUnknown]
    if service.settings.rate_limit:
        wanted += [errors.RateLimited]
    return tuple(wanted)


def _responses(answer: Document, refusals: Iterable[Kind]) -> Document:
    """200 with its answer, and each status with the codes that it may have."""
    reference = {"$ref": "#/components/schemas/ProblemDetails"}
    found: dict[str, list[str]] = {}
    for error in (*refusals, errors.Internal):
        found.setdefault(str(error.status), []).append(error.code)
    refused = {
        status: {
            "description": "Refused: " + ", ".join(f"`{code}`" for code in sorted(codes)) + ".",
            "headers": _common() | ({"Retry-After": SECONDS} if status in ("429", "503") else {}),
            "content": {Problem.media_type: {"schema": reference}},
        }
        for status, codes in sorted(found.items())
    }
    return {"200": answer | {"headers": _common()}, **refused}


def _common() -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in COMMON}


def _headers() -> Document:
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    identifier = {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"}
    described = (
        ("Name of the model.", {"type": "string"}),
        ("Its version in the registry.", {"type": "integer", "minimum": 1}),
        ("SHA-256 of its manifest.", digest),
        ("What the log calls the request.", identifier),
    )
    return {
        name: {"required": True, "description": text, "schema": schema}
        for name, (text, schema) in zip(COMMON, described, strict=True)
    }


def _key(service: Service) -> str:
    return "-H 'X-API-Key: <key>' " if service.access.wants_key else ""


def _security(service: Service) -> Document:
    return {"security": [{"key": []}, {"bearer": []}]} if service.access.wants_key else {}


def _row(error: Kind) -> Document:
    return {"code": error.code, "status": error.status, "description": inspect.getdoc(error)}
