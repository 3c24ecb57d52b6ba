"""The OpenAPI document: the classes of `response_schemas.py` are its schemas, the error trees its refusals.

Two extensions serve the page /docs: `x-curl`, a command that works, and `x-errors`, all codes.
"""

import inspect

import msgspec

from serving.api import errors, response_schemas
from serving.api.metrics import CONTENT_TYPE
from serving.api.openapi_responses import (
    HTML,
    JSON,
    UNREADY,
    Document,
    Kind,
    answer,
    every_error,
    headers,
    key,
    responses,
    security,
    sending,
)
from serving.api.protocols import openapi_paths
from serving.api.protocols.request_examples import BASE64, PHOTO, Body, many, object_of
from serving.api.service import Service
from serving.model.formats.image_file import ACCEPTED

# An image in JSON, and a document that a shell makes.
IMAGE = BASE64 | {"description": "Base64, or a data URL with it."}
EXAMPLE = f'{{"image": "{PHOTO}"}}'
PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
SCHEMAS = (
    response_schemas.Outcome,
    response_schemas.Predictions,
    response_schemas.Alive,
    response_schemas.Ready,
    response_schemas.Version,
    response_schemas.ModelCard,
    response_schemas.ProblemDetails,
    *openapi_paths.SCHEMAS,
)

INFO = """\
Classifies images. Send a form with the file in the field `image`, the image itself as the body, or JSON with
base64.
Every answer names the model that gave it in X-Model-Name, X-Model-Version and X-Model-Digest.
Images are neither stored nor logged."""


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
        # Relative to where the document is.
        "servers": [{"url": service.settings.prefix or "/"}],
        "tags": openapi_paths.tags(),
        "paths": _paths(service, named) | openapi_paths.paths(service, named),
        "components": {"schemas": components, "headers": headers()},
        "x-errors": [_row(error) for error in every_error()],
    }
    if service.access.wants_key:
        described["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    return described


def _paths(service: Service, named: Document) -> Document:
    paths = {
        "/": {"get": _page("Is it there?", named["Outcome"], "curl {url}/")},
        "/inference": {"post": _inference(service)},
        "/predict": {"post": _predict(service, named)},
        "/livez": {"get": _plain("Is the process alive?", named["Alive"])},
        "/readyz": {"get": _plain("Does it answer as it was measured?", named["Ready"], *UNREADY)},
        "/version": {"get": _version(named)},
        "/model": {"get": _page("What is known of the model?", named["ModelCard"], "curl {url}/model")},
        "/metrics": {"get": _other("How busy is it?", "Series for Prometheus.", CONTENT_TYPE)},
        "/docs": {"get": _other("This documentation, to be read.", "A page.", HTML)},
        "/openapi.json": {"get": _other("This documentation, for programs.", "An OpenAPI document.", JSON)},
    }
    if service.settings.metrics_port:
        del paths["/metrics"]
    return paths


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
        "responses": responses(answer(schema), sending(service)),
        "x-curl": f"curl {key(service)}-F image=@photo.jpg {{url}}/inference",
        "x-curl-json": _json_curl(service, "/inference"),
        **security(service),
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
        "responses": responses(answer(named["Predictions"]), (*sending(service), errors.ParameterInvalid)),
        "x-curl": f"curl {key(service)}-F image=@one.jpg -F image=@two.png '{{url}}/predict?top=3'",
        "x-curl-json": _json_curl(service, "/predict"),
        **security(service),
    }


def _image(limit: int) -> Document:
    """A form with one or several files, JSON with one or several images in base64, or an image as it is."""
    one = {"type": "string", "contentMediaType": "image/*", "description": f"{ACCEPTED}."}
    field = one if limit == 1 else {"type": "array", "items": one, "minItems": 1, "maxItems": limit}
    form = {"type": "object", "properties": {"image": field}, "required": ["image"]}
    content: Document = {
        "multipart/form-data": {"schema": form, "encoding": {"image": {"contentType": ", ".join(PICTURES)}}}
    }
    content[JSON] = {"schema": _json(limit)}
    return {"required": True, "content": content | {kind: {} for kind in PICTURES}}


def _json(limit: int) -> Document:
    """The one form of each path that examples show best; both are taken at both."""
    if limit == 1:
        return object_of("image", IMAGE) | {"description": "One image; `images` is a list of one."}
    return object_of("images", many(IMAGE, limit)) | {
        "description": "Several images; `image` is a single one."
    }


def _json_curl(service: Service, path: str) -> str:
    return Body({}, EXAMPLE).curl(key(service)) + f" {{url}}{path}"


def _plain(summary: str, schema: Document, *refusals: Kind) -> Document:
    return {"summary": summary, "responses": responses(answer(schema), refusals)}


def _version(named: Document) -> Document:
    described = _plain("Who answers?", named["Version"])
    content = described["responses"]["200"]["content"]
    content["text/plain"] = {"schema": {"type": "string", "description": "To MLflow's clients: its version."}}
    return described


def _page(summary: str, schema: Document, curl: str) -> Document:
    content = {JSON: {"schema": schema}, HTML: {"schema": {"type": "string"}}}
    described = {"description": "JSON; to a browser a page.", "content": content}
    return {"summary": summary, "responses": responses(described, ()), "x-curl": curl}


def _other(summary: str, description: str, kind: str) -> Document:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    answer = {"description": description, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": responses(answer, ())}


def _row(error: Kind) -> Document:
    return {"code": error.code, "status": error.status, "description": inspect.getdoc(error)}
