"""The scoring protocol of MLflow's own server, and SageMaker's, which uses the same paths.

Predictions equal those of `mlflow.pyfunc.load_model(bundle).predict` on the same images. This is the only
protocol that depends on the Content-Type, because its specification does.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from flask import Blueprint, Response, g, request
from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.http import parse_options_header

from serving.api.errors import DocumentMalformed, TypeUnknown
from serving.api.protocols import sagemaker
from serving.api.protocols.error_formats import DEADLINE_STATUSES
from serving.api.protocols.json_documents import check_document, one_large_body_at_a_time, parse
from serving.api.response_schemas import ClassScore
from serving.api.responses import Problem, json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.model.predictor import Probabilities

# The release of MLflow whose protocol this is and against which it is tested.
MLFLOW_VERSION = "3.17.2"
JSON = "application/json"
# The number of classes that the bundle's `python_function` returns.
TOP = 5
# MLflow's error codes by HTTP status.
ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
PATHS = ("/invocations", "/ping", "/health")
INPUT_MEMBERS = ("dataframe_split", "dataframe_records", "instances", "inputs")

Value = TypeVar("Value")

# One image: base64 itself, or a row or record that holds nothing else.
Cell = bytes | list[bytes] | dict[str, bytes | dict[str, bytes]]


class DataframeSplit(Struct, forbid_unknown_fields=True):
    """A table with one column, of images."""

    data: list[list[bytes]]
    columns: list[str | int] | None = None
    index: list[Any] | None = None


class Params(Struct, forbid_unknown_fields=True):
    """Optional parameters: the number of classes."""

    top: Annotated[int, Meta(ge=1)] = TOP


class InvocationRequest(Struct):
    """A request. It has exactly one of the first four members; images are in base64."""

    dataframe_split: DataframeSplit | UnsetType = UNSET
    dataframe_records: list[dict[str, bytes]] | UnsetType = UNSET
    instances: list[Cell] | UnsetType = UNSET
    inputs: list[Cell] | dict[str, list[bytes]] | UnsetType = UNSET
    params: Params | None = None


class ScoredImages(Struct):
    """One list of classes for each image; best class first."""

    predictions: list[list[ClassScore]]


def routes(service: Service) -> Blueprint:
    """The routes of MLflow's server, except `/version`, which is in status_routes.py."""
    blueprint = Blueprint("mlflow", __name__)

    @blueprint.get("/ping")
    def ping() -> Response:
        return _health_response(service)

    @blueprint.get("/health")
    def health() -> Response:
        return _health_response(service)

    @blueprint.post("/invocations")
    def invocations() -> Response:
        media_type, options = parse_options_header(request.content_type or "")
        top, is_image = TOP, sagemaker.is_image_type(media_type)
        is_known = is_image or (media_type == JSON and _is_utf_8(options))
        error = None if is_known else TypeUnknown(f"{JSON} in UTF-8, or {', '.join(sagemaker.TYPES)}")
        with service.read_body(request, error) as body:
            if is_image:
                images = [body.take()]
            else:
                images, top = _parse_request(body.take(), service.settings.max_images)
            predictions = service.classify(request, images)
        return json_response(ScoredImages([class_scores(g.model, each, top) for each in predictions]))

    return blueprint


def class_scores(model: ServedModel, probabilities: Probabilities, top: int = TOP) -> list[ClassScore]:
    """The best classes of an image. Scores are not rounded."""
    scores = model.predictor.top(probabilities, top)
    return [ClassScore(score.label, score.id, score.score) for score in scores]


def mlflow_error(problem: Problem, headers: dict[str, str]) -> Response:
    """An error in MLflow's format, without a stack trace."""
    status = DEADLINE_STATUSES.get(problem.code, problem.status)
    document = {"error_code": ERROR_CODES.get(status, "BAD_REQUEST"), "message": problem.detail}
    return json_response({**document, "code": problem.code, **problem.extra}, status, headers)


def _is_utf_8(options: dict[str, str]) -> bool:
    """No parameter but charset is accepted: older versions of this protocol chose their format by one."""
    return set(options) <= {"charset"} and options.get("charset", "utf-8").lower() == "utf-8"


def _health_response(service: Service) -> Response:
    service.check_ready()
    return Response("\n", mimetype=JSON)


@one_large_body_at_a_time
def _parse_request(body: bytes, limit: int) -> tuple[list[bytes], int]:
    """The images of a document and the number of classes per image."""
    check_document(body, limit)
    document = parse(body, InvocationRequest)
    params = document.params or Params()
    present = [name for name in INPUT_MEMBERS if getattr(document, name) is not UNSET]
    if len(present) != 1:
        names = ", ".join(INPUT_MEMBERS)
        raise DocumentMalformed(f"it must hold exactly one of {names}, and holds {len(present)}")
    return _images(getattr(document, present[0])), params.top


def _images(inputs: DataframeSplit | Sequence[Cell] | dict[str, list[bytes]]) -> list[bytes]:
    if isinstance(inputs, DataframeSplit):
        if inputs.columns is not None and len(inputs.columns) != 1:
            raise DocumentMalformed(f"the table has {len(inputs.columns)} columns; one is wanted, of images")
        inputs = inputs.data
    if isinstance(inputs, dict):
        return _single(list(inputs.values()))
    return [_image(cell) for cell in inputs]


def _image(cell: Cell | dict[str, bytes]) -> bytes:
    """The image in a row, a record or `{"b64": ...}`."""
    if isinstance(cell, bytes):
        return cell
    value = _single(list(cell.values()) if isinstance(cell, dict) else cell)
    return value if isinstance(value, bytes) else _image(value)


def _single(values: Sequence[Value]) -> Value:
    if len(values) != 1:
        raise DocumentMalformed(f"a row or record has {len(values)} values; one is wanted, the image")
    return values[0]
