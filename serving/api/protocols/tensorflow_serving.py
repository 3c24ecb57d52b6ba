"""TensorFlow Serving's REST API, and the first protocol of KServe, which uses the same paths.

The Content-Type is ignored: the documented `curl -d` declares JSON as a URL-encoded form.
"""

from flask import Blueprint, Response, g, request
from msgspec import Struct

from serving.api.client_connection import Environ
from serving.api.errors import SignatureWrong
from serving.api.protocols import tensorflow_metadata
from serving.api.protocols.tensorflow_requests import parse_classify, parse_predict
from serving.api.responses import json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service

PREFIX = "/v1"


class Rows(Struct):
    """Probabilities of each image, in label order."""

    predictions: list[list[float]]


class Column(Struct):
    """The same, for a request with columns."""

    outputs: list[list[float]]


class Classes(Struct):
    """Label and probability of all classes for each image, best first."""

    results: list[list[list[str | float]]]


def routes(service: Service) -> Blueprint:
    """Status, metadata and predictions; the path names the model and perhaps its version or label."""
    blueprint = Blueprint("tensorflow_serving", __name__)
    find = service.find_model

    @blueprint.get("/v1/models")
    def models() -> Response:
        return json_response(tensorflow_metadata.Names([entry.name for entry in service.models.entries]))

    @blueprint.get("/v1/models/<segment:name>")
    @blueprint.get("/v1/models/<segment:name>/versions/<segment:version>")
    @blueprint.get("/v1/models/<segment:name>/labels/<segment:label>")
    def status(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        service.check_ready()
        return json_response(tensorflow_metadata.status(entry, one=bool(version or label)))

    @blueprint.get("/v1/models/<segment:name>/metadata")
    @blueprint.get("/v1/models/<segment:name>/versions/<segment:version>/metadata")
    @blueprint.get("/v1/models/<segment:name>/labels/<segment:label>/metadata")
    def metadata(name: str, version: str | None = None, label: str | None = None) -> Response:
        return json_response(tensorflow_metadata.metadata(find(name, version, label)))

    _add_prediction_routes(blueprint, service)
    return blueprint


def _add_prediction_routes(blueprint: Blueprint, service: Service) -> None:
    find = service.find_model

    @blueprint.post("/v1/models/<segment:name>:predict")
    @blueprint.post("/v1/models/<segment:name>/versions/<segment:version>:predict")
    @blueprint.post("/v1/models/<segment:name>/labels/<segment:label>:predict")
    def predict(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        with service.read_body(request) as body:
            images, as_rows = parse_predict(body.take(), entry, service.settings.max_images)
            predictions = [each.tolist() for each in service.classify(request, images)]
        return json_response(Rows(predictions) if as_rows else Column(predictions))

    @blueprint.post("/v1/models/<segment:name>:classify")
    @blueprint.post("/v1/models/<segment:name>/versions/<segment:version>:classify")
    @blueprint.post("/v1/models/<segment:name>/labels/<segment:label>:classify")
    def classify(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        if entry.pixels:
            raise SignatureWrong("This model takes tensors, and classify takes examples")
        with service.read_body(request) as body:
            images = parse_classify(body.take(), service.settings.max_images)
            predictions = service.classify(request, images)
        model: ServedModel = g.model
        by_image = [model.predictor.top(each, len(model.labels)) for each in predictions]
        return json_response(Classes([[[score.label, score.score] for score in s] for s in by_image]))

    @blueprint.post("/v1/models/<segment:name>:regress")
    @blueprint.post("/v1/models/<segment:name>/versions/<segment:version>:regress")
    @blueprint.post("/v1/models/<segment:name>/labels/<segment:label>:regress")
    def regress(name: str, version: str | None = None, label: str | None = None) -> Response:
        find(name, version, label)
        raise SignatureWrong("This model classifies and has no regression")


def normalise_case(environ: Environ) -> None:
    """Lower-cases the fixed parts of a path, which this API accepts in any case; names are kept."""
    parts = environ["PATH_INFO"].split("/")
    if [part.lower() for part in parts[1:3]] != ["v1", "models"]:
        return
    for index, part in enumerate(parts):
        name, colon, verb = part.partition(":") if index in (3, 5) else ("", "", part)
        parts[index] = name + colon + verb.lower()
    environ["PATH_INFO"] = "/".join(parts)
