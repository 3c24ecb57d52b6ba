"""The scoring protocol of MLflow's own server, and SageMaker's, which has its paths.

Answers are those of `mlflow.pyfunc.load_model(bundle).predict` on the same images. This is the one protocol
that decides by Content-Type, because its contract does.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from flask import Blueprint, Response, request
from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.http import parse_options_header

from serving.api.errors import DocumentMalformed, TypeUnknown
from serving.api.problem import Problem
from serving.api.protocols import sagemaker
from serving.api.protocols.error_documents import LATE
from serving.api.protocols.json_documents import check, in_turn, parse
from serving.api.response_schemas import ClassScore
from serving.api.responses import json
from serving.api.service import Service
from serving.model.predictor import Probabilities

# The release of MLflow whose protocol this is, and against which it is tested.
VERSION = "3.17.2"
JSON = "application/json"
# As the `python_function` of the bundle answers.
TOP = 5
# MLflow's names of what HTTP has numbers for.
CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
PATHS = ("/invocations", "/ping", "/health")
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")

Value = TypeVar("Value")

# What stands for one image: base64 itself, or a row or record in which nothing else is.
Cell = bytes | list[bytes] | dict[str, bytes | dict[str, bytes]]


class Split(Struct, forbid_unknown_fields=True):
    """A table: rows with one cell, which holds the image."""

    data: list[list[bytes]]
    columns: list[str | int] | None = None
    index: list[Any] | None = None


class Params(Struct, forbid_unknown_fields=True):
    """What may be asked for besides: the number of classes."""

    top: Annotated[int, Meta(ge=1)] = TOP


class Invocation(Struct):
    """A request has exactly one of the first four; images are in base64."""

    dataframe_split: Split | UnsetType = UNSET
    dataframe_records: list[dict[str, bytes]] | UnsetType = UNSET
    instances: list[Cell] | UnsetType = UNSET
    inputs: list[Cell] | dict[str, list[bytes]] | UnsetType = UNSET
    params: Params | None = None


class ScoredImages(Struct):
    """One list of classes for each image; best class first."""

    predictions: list[list[ClassScore]]


def routes(service: Service) -> Blueprint:
    """What MLflow's server has, without what would answer twice: `/version` is among the operations."""
    blueprint = Blueprint("mlflow", __name__)

    @blueprint.get("/ping")
    def ping() -> Response:
        return _healthy(service)

    @blueprint.get("/health")
    def health() -> Response:
        return _healthy(service)

    @blueprint.post("/invocations")
    def invocations() -> Response:
        kind, options = parse_options_header(request.content_type or "")
        top, image = TOP, sagemaker.is_image(kind)
        known = image or (kind == JSON and _is_utf_8(options))
        refusal = None if known else TypeUnknown(f"{JSON} in UTF-8, or {', '.join(sagemaker.TYPES)}")
        with service.body(request, refusal) as held:
            if image:
                images = [held.take()]
            else:
                images, top = _read(held.take(), service.settings.max_images)
            answers = service.classify(request, images)
        return json(ScoredImages([scores(service, answer, top) for answer in answers]))

    return blueprint


def scores(service: Service, answer: Probabilities, top: int = TOP) -> list[ClassScore]:
    """The best classes, with all digits that there are."""
    return [ClassScore(best.label, best.id, best.score) for best in service.predictor.top(answer, top)]


def refuse(problem: Problem, headers: dict[str, str]) -> Response:
    """An error as MLflow has them, without a stack trace."""
    status = LATE.get(problem.code, problem.status)
    document = {"error_code": CODES.get(status, "BAD_REQUEST"), "message": problem.detail}
    return json({**document, "code": problem.code, **problem.extra}, status, headers)


def _is_utf_8(options: dict[str, str]) -> bool:
    """Nothing else may stand behind the type: older forms of this protocol had their names there."""
    return set(options) <= {"charset"} and options.get("charset", "utf-8").lower() == "utf-8"


def _healthy(service: Service) -> Response:
    service.check_ready()
    return Response("\n", mimetype=JSON)


@in_turn
def _read(body: bytes, limit: int) -> tuple[list[bytes], int]:
    """The images of a document, and how many classes of each are wanted."""
    check(body, limit)
    document = parse(body, Invocation)
    params = document.params or Params()
    given = [name for name in FORMS if getattr(document, name) is not UNSET]
    if len(given) != 1:
        raise DocumentMalformed(f"it must hold exactly one of {', '.join(FORMS)}, and holds {len(given)}")
    return _images(getattr(document, given[0])), params.top


def _images(given: Split | Sequence[Cell] | dict[str, list[bytes]]) -> list[bytes]:
    if isinstance(given, Split):
        if given.columns is not None and len(given.columns) != 1:
            raise DocumentMalformed(f"the table has {len(given.columns)} columns; one is wanted, of images")
        given = given.data
    if isinstance(given, dict):
        return _only(list(given.values()))
    return [_image(cell) for cell in given]


def _image(cell: Cell | dict[str, bytes]) -> bytes:
    """What a row, a record or `{"b64": ...}` holds."""
    if isinstance(cell, bytes):
        return cell
    inside = _only(list(cell.values()) if isinstance(cell, dict) else cell)
    return inside if isinstance(inside, bytes) else _image(inside)


def _only(values: Sequence[Value]) -> Value:
    if len(values) != 1:
        raise DocumentMalformed(f"a row or record has {len(values)} values; one is wanted, the image")
    return values[0]
