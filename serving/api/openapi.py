"""The OpenAPI document. Its schemas are the classes of `response_schemas.py`, its errors the error classes.

Two extensions are for the page /docs: `x-curl`, an example command, and `x-errors`, the list of all codes.
"""

import inspect

import msgspec

from serving.api import errors, response_schemas
from serving.api.metrics import CONTENT_TYPE
from serving.api.openapi_responses import (
    HTML,
    JSON,
    NOT_READY,
    PNG,
    Document,
    ErrorClass,
    all_errors,
    curl_key_option,
    header_components,
    operation_responses,
    security_requirement,
    success_response,
    upload_errors,
)
from serving.api.protocols import openapi_paths
from serving.api.protocols.request_examples import BASE64, PHOTO, ExampleBody, array_of, object_of
from serving.api.service import Service
from serving.model.formats.image_file import ACCEPTED

# The schema of an image in JSON, and an example document for a shell command.
IMAGE = BASE64 | {"description": "Base64, or a data URL in base64."}
EXAMPLE = f'{{"image": "{PHOTO}"}}'
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
SCHEMAS = (
    response_schemas.Outcome,
    response_schemas.Predictions,
    response_schemas.Explained,
    response_schemas.Alive,
    response_schemas.Ready,
    response_schemas.Version,
    response_schemas.ModelCard,
    response_schemas.ModelStates,
    response_schemas.ProblemDetails,
    *openapi_paths.SCHEMAS,
)

# Paths of this server's own whose answer is that of one model.
MODEL_PATHS = {"/inference", "/predict", "/explain", "/version", "/model"}
# Labels that are listed as the values of a parameter.
MAX_LABELS = 50

INFO = """\
Classifies images. Send a form with the file in the field `image`, the image itself as the body, or JSON with
base64.
Every response names the model in X-Model-Name, X-Model-Version and X-Model-Digest.
Images are neither stored nor logged."""


def openapi_document(service: Service) -> Document:
    """All routes of this server with its current settings."""
    schemas, components = msgspec.json.schema_components(SCHEMAS, ref_template="#/components/schemas/{name}")
    by_name = dict(zip((kind.__name__ for kind in SCHEMAS), schemas, strict=True))
    pin = service.models.default.pin
    document: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": f"Goldfish: {pin.name}",
            "version": f"{pin.version}+{pin.digest[:12]}",
            "description": INFO,
        },
        # Relative to the URL of the document.
        "servers": [{"url": service.settings.prefix or "/"}],
        "tags": openapi_paths.tags(),
        "paths": _paths(service, by_name) | openapi_paths.paths(service, by_name),
        "components": {"schemas": components, "headers": header_components()},
        "x-errors": [_error_row(error) for error in all_errors()],
    }
    if service.access.requires_key:
        document["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    return document


def _paths(service: Service, by_name: Document) -> Document:
    paths = {
        "/": {"get": _page_or_json("Is the server running?", by_name["Outcome"], "curl {url}/")},
        "/inference": {"post": _inference(service)},
        "/predict": {"post": _predict(service, by_name)},
        "/explain": {"post": _explain(service, by_name)},
        "/livez": {"get": _json_operation("Is the process alive?", by_name["Alive"])},
        "/readyz": {"get": _json_operation("Is the server ready?", by_name["Ready"], *NOT_READY)},
        "/version": {"get": _version(by_name)},
        "/model": {"get": _page_or_json("The model card.", by_name["ModelCard"], "curl {url}/model")},
        "/models": {"get": _json_operation("Which versions are loaded?", by_name["ModelStates"])},
        "/metrics": {"get": _get_operation("Metrics.", "Metrics for Prometheus.", CONTENT_TYPE)},
        "/docs": {"get": _get_operation("This documentation, as a page.", "A page.", HTML)},
        "/openapi.json": {
            "get": _get_operation("This documentation, for programs.", "An OpenAPI document.", JSON)
        },
    }
    if service.settings.metrics_port:
        del paths["/metrics"]
    if not service.settings.explain:
        del paths["/explain"]
    if len(service.models.models) > 1:
        for path in set(paths) & MODEL_PATHS:
            (operation,) = paths[path].values()
            operation["parameters"] = [*operation.get("parameters", []), _model_parameter(service)]
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
        "description": f"The image may be {ACCEPTED}; of an animation the first frame is used.",
        "operationId": "inference",
        "requestBody": _image_body(1),
        "responses": operation_responses(success_response(schema), upload_errors(service)),
        "x-curl": f"curl {curl_key_option(service)}-F image=@photo.jpg {{url}}/inference",
        "x-curl-json": _json_curl(service, "/inference"),
        **security_requirement(service),
    }


def _predict(service: Service, by_name: Document) -> Document:
    model = service.models.default
    classes, levels = len(model.labels), model.reliability.levels
    return {
        "summary": "The best classes of one or several images, with the identity of the model.",
        "description": f"Up to {service.settings.max_images} images in one form; if one is refused, all are.",
        "operationId": "predict",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "Number of classes per image.",
                "schema": {"type": "integer", "minimum": 1, "maximum": classes, "default": min(5, classes)},
            },
            *([_level_parameter(levels)] if levels else []),
        ],
        "requestBody": _image_body(service.settings.max_images),
        "responses": operation_responses(
            success_response(by_name["Predictions"]), (*upload_errors(service), errors.ParameterInvalid)
        ),
        "x-curl": (
            f"curl {curl_key_option(service)}-F image=@one.jpg -F image=@two.png '{{url}}/predict?top=3'"
        ),
        "x-curl-json": _json_curl(service, "/predict"),
        **security_requirement(service),
    }


def _model_parameter(service: Service) -> Document:
    names = [versions.name for versions in service.models.models]
    return {
        "name": "model",
        "in": "query",
        "description": "The model that answers.",
        "schema": {"type": "string", "enum": names, "default": names[0]},
    }


def _level_parameter(levels: tuple[float, ...]) -> Document:
    return {
        "name": "level",
        "in": "query",
        "description": "Probability with which the label set `set` has the right class.",
        "schema": {"type": "number", "enum": list(levels), "default": levels[-1]},
    }


def _explain(service: Service, by_name: Document) -> Document:
    model = service.models.default
    methods, labels = model.explainer.methods, [label.name for label in model.labels]
    content = {PNG: {"schema": {"type": "string"}}, JSON: {"schema": by_name["Explained"]}}
    response = {"description": "A picture, or JSON if the client prefers it.", "content": content}
    return {
        "summary": "Which places of an image speak for a class.",
        "description": "The picture shows the image as the model sees it and, from yellow to magenta, the "
        "places that speak for the class. It shows what the prediction rests on, and not why things are so.",
        "operationId": "explain",
        "parameters": [
            {
                "name": "class",
                "in": "query",
                "description": "Label or id of the class. By default the best one.",
                "schema": {"type": "string"} | ({"enum": labels} if len(labels) <= MAX_LABELS else {}),
            },
            {
                "name": "method",
                "in": "query",
                "description": "`cam` is exact, where the model allows it; `occlusion` covers one place "
                "after the other and takes 50 predictions.",
                "schema": {"type": "string", "enum": list(methods), "default": methods[0]},
            },
        ],
        "requestBody": _image_body(1),
        "responses": operation_responses(
            response, (*upload_errors(service), errors.ParameterInvalid, errors.ExplanationTooSlow)
        ),
        "x-curl": f"curl {curl_key_option(service)}-F image=@photo.jpg -o heatmap.png {{url}}/explain",
        "x-curl-json": _json_curl(service, "/explain", "-H 'Accept: application/json' "),
        **security_requirement(service),
    }


def _image_body(limit: int) -> Document:
    """A form with one or several files, JSON with one or several images in base64, or a raw image."""
    one = {"type": "string", "contentMediaType": "image/*", "description": f"{ACCEPTED}."}
    field = one if limit == 1 else {"type": "array", "items": one, "minItems": 1, "maxItems": limit}
    form = {"type": "object", "properties": {"image": field}, "required": ["image"]}
    content: Document = {
        "multipart/form-data": {
            "schema": form,
            "encoding": {"image": {"contentType": ", ".join(IMAGE_TYPES)}},
        }
    }
    content[JSON] = {"schema": _image_schema(limit)}
    return {"required": True, "content": content | {media_type: {} for media_type in IMAGE_TYPES}}


def _image_schema(limit: int) -> Document:
    """Only the variant that fits the path best, for the examples; both paths accept both."""
    if limit == 1:
        return object_of("image", IMAGE) | {"description": "One image; `images` is a list of one."}
    return object_of("images", array_of(IMAGE, limit)) | {
        "description": "Several images; `image` is a single one."
    }


def _json_curl(service: Service, path: str, options: str = "") -> str:
    return ExampleBody({}, EXAMPLE).curl(curl_key_option(service) + options) + f" {{url}}{path}"


def _json_operation(summary: str, schema: Document, *error_classes: ErrorClass) -> Document:
    return {"summary": summary, "responses": operation_responses(success_response(schema), error_classes)}


def _version(by_name: Document) -> Document:
    operation = _json_operation("Which model and runtime are served?", by_name["Version"])
    content = operation["responses"]["200"]["content"]
    content["text/plain"] = {
        "schema": {"type": "string", "description": "For MLflow's clients: the version of MLflow."}
    }
    return operation


def _page_or_json(summary: str, schema: Document, curl: str) -> Document:
    content = {JSON: {"schema": schema}, HTML: {"schema": {"type": "string"}}}
    response = {"description": "JSON, or a page if the client prefers HTML.", "content": content}
    return {"summary": summary, "responses": operation_responses(response, ()), "x-curl": curl}


def _get_operation(summary: str, description: str, media_type: str) -> Document:
    schema = {"type": "object"} if media_type == JSON else {"type": "string"}
    response = {"description": description, "content": {media_type: {"schema": schema}}}
    return {"summary": summary, "responses": operation_responses(response, ())}


def _error_row(error: ErrorClass) -> Document:
    return {"code": error.code, "status": error.status, "description": inspect.getdoc(error)}
