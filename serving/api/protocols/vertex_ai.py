"""Vertex AI: routes whose paths the platform chooses, in `AIP_HEALTH_ROUTE` and `AIP_PREDICT_ROUTE`."""

from typing import Annotated

from flask import Blueprint, Flask, Response, request
from msgspec import Meta, Struct
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from serving.api.protocols.json_documents import check, in_turn, parse
from serving.api.protocols.mlflow_scoring import TOP, ScoredImages, scores
from serving.api.response_schemas import Alive
from serving.api.responses import json
from serving.api.service import Service
from serving.config import SettingsInvalid, variable

# Views that do what is wanted at a path that is this server's already.
HEALTH = frozenset(
    {"operations.livez", "operations.readyz", "mlflow.ping", "mlflow.health", "open_inference.ready"}
)
PREDICT = frozenset({"mlflow.invocations", "tensorflow_serving.predict"})


class VertexInstance(Struct):
    """One image in base64."""

    b64: bytes


class VertexParameters(Struct):
    """How many classes of each image."""

    top: Annotated[int, Meta(ge=1)] = TOP


class VertexRequest(Struct):
    """What Vertex AI passes on."""

    instances: list[VertexInstance]
    parameters: VertexParameters | None = None


def routes(service: Service, taken: Map) -> Blueprint:
    """The routes that are set and not yet there; raises `SettingsInvalid` if one is for something else."""
    blueprint = Blueprint("vertex_ai", __name__)
    settings = service.settings
    if _free(taken, "aip_health_route", settings.aip_health_route, "GET", HEALTH):

        @blueprint.get(settings.aip_health_route)
        def health() -> Response:
            service.check_ready()
            return json(Alive("alive"))

    if _free(taken, "aip_predict_route", settings.aip_predict_route, "POST", PREDICT):

        @blueprint.post(settings.aip_predict_route)
        def predict() -> Response:
            with service.body(request) as held:
                images, top = _read(held.take(), service.settings.max_images)
                answers = service.classify(request, images)
            return json(ScoredImages([scores(service, answer, top) for answer in answers]))

    return blueprint


def paths(app: Flask) -> list[str]:
    """Those that were not there before."""
    return [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("vertex_ai.")]


@in_turn
def _read(body: bytes, limit: int) -> tuple[list[bytes], int]:
    check(body, limit)
    document = parse(body, VertexRequest)
    return [instance.b64 for instance in document.instances], (document.parameters or VertexParameters()).top


def _free(taken: Map, field: str, path: str, method: str, equal: frozenset[str]) -> bool:
    """Is a path still to be had? No, too, if it is not set or there is a view that does the same."""
    if not path:
        return False
    try:
        view, _ = taken.bind("").match(path, method)
    except NotFound:
        return True
    except MethodNotAllowed:
        view = ""
    if view not in equal:
        raise SettingsInvalid([f"{variable(field)} is {path!r}, where this server has another route"])
    return False
