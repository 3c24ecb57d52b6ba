"""Vertex AI's routes, whose paths the platform sets by `AIP_HEALTH_ROUTE` and `AIP_PREDICT_ROUTE`."""

from typing import Annotated

from flask import Blueprint, Flask, Response, g, request
from msgspec import Meta, Struct
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from serving.api.protocols.json_documents import check_document, one_large_body_at_a_time, parse
from serving.api.protocols.mlflow_scoring import TOP, ScoredImages, class_scores
from serving.api.response_schemas import Alive
from serving.api.responses import json_response
from serving.api.service import Service
from serving.config import SettingsInvalid, variable

# Existing endpoints that already do what Vertex AI needs, if it chooses one of their paths.
HEALTH_ENDPOINTS = frozenset(
    {"operations.livez", "operations.readyz", "mlflow.ping", "mlflow.health", "open_inference.ready"}
)
PREDICT_ENDPOINTS = frozenset({"mlflow.invocations", "tensorflow_serving.predict"})


class VertexInstance(Struct):
    """One image in base64."""

    b64: bytes


class VertexParameters(Struct):
    """The number of classes per image."""

    top: Annotated[int, Meta(ge=1)] = TOP


class VertexRequest(Struct):
    """A request, as Vertex AI passes it on."""

    instances: list[VertexInstance]
    parameters: VertexParameters | None = None


def routes(service: Service, existing: Map) -> Blueprint:
    """The configured routes that do not exist yet; raises `SettingsInvalid` if a path has another use."""
    blueprint = Blueprint("vertex_ai", __name__)
    settings = service.settings
    if _is_new(existing, "aip_health_route", settings.aip_health_route, "GET", HEALTH_ENDPOINTS):

        @blueprint.get(settings.aip_health_route)
        def health() -> Response:
            service.check_ready()
            return json_response(Alive("alive"))

    if _is_new(existing, "aip_predict_route", settings.aip_predict_route, "POST", PREDICT_ENDPOINTS):

        @blueprint.post(settings.aip_predict_route)
        def predict() -> Response:
            with service.read_body(request) as body:
                images, top = _parse_request(body.take(), service.settings.max_images)
                predictions = service.classify(request, images)
            return json_response(ScoredImages([class_scores(g.model, each, top) for each in predictions]))

    return blueprint


def added_paths(app: Flask) -> list[str]:
    """The paths that were added for Vertex AI."""
    return [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("vertex_ai.")]


@one_large_body_at_a_time
def _parse_request(body: bytes, limit: int) -> tuple[list[bytes], int]:
    """The images of a document and the number of classes per image."""
    check_document(body, limit)
    document = parse(body, VertexRequest)
    return [instance.b64 for instance in document.instances], (document.parameters or VertexParameters()).top


def _is_new(existing: Map, field: str, path: str, method: str, equivalent: frozenset[str]) -> bool:
    """Must a route be added? Not if the path is not set or an equivalent endpoint is there already."""
    if not path:
        return False
    try:
        endpoint, _ = existing.bind("").match(path, method)
    except NotFound:
        return True
    except MethodNotAllowed:
        endpoint = ""
    if endpoint not in equivalent:
        raise SettingsInvalid([f"{variable(field)} is {path!r}, where this server has another route"])
    return False
