"""TensorFlow Serving's REST API, and the first protocol of KServe, which shares its paths.

Nothing is decided by Content-Type: its documented `curl -d` says that a form is coming.
"""

from flask import Blueprint, Response, request
from msgspec import Struct

from serving.api.body_reader import Environ
from serving.api.errors import SignatureWrong
from serving.api.protocols import tensorflow_metadata
from serving.api.protocols.tensorflow_requests import examples, read
from serving.api.responses import json
from serving.api.service import Service

PREFIX = "/v1"


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
        return json(tensorflow_metadata.Names([entry.name for entry in service.catalogue.entries]))

    @blueprint.get("/v1/models/<word:name>")
    @blueprint.get("/v1/models/<word:name>/versions/<word:version>")
    @blueprint.get("/v1/models/<word:name>/labels/<word:label>")
    def status(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        service.check_ready()
        return json(tensorflow_metadata.status(entry))

    @blueprint.get("/v1/models/<word:name>/metadata")
    @blueprint.get("/v1/models/<word:name>/versions/<word:version>/metadata")
    @blueprint.get("/v1/models/<word:name>/labels/<word:label>/metadata")
    def metadata(name: str, version: str | None = None, label: str | None = None) -> Response:
        return json(tensorflow_metadata.metadata(find(name, version, label)))

    _predicting(blueprint, service)
    return blueprint


def _predicting(blueprint: Blueprint, service: Service) -> None:
    find = service.catalogue.find

    @blueprint.post("/v1/models/<word:name>:predict")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:predict")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:predict")
    def predict(name: str, version: str | None = None, label: str | None = None) -> Response:
        entry = find(name, version, label)
        with service.body(request) as held:
            images, rows = read(held.take(), entry, service.settings.max_images)
            answers = [answer.tolist() for answer in service.classify(request, images)]
        return json(Rows(answers) if rows else Column(answers))

    @blueprint.post("/v1/models/<word:name>:classify")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:classify")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:classify")
    def classify(name: str, version: str | None = None, label: str | None = None) -> Response:
        if find(name, version, label).pixels:
            raise SignatureWrong("This model takes tensors, and classify takes examples")
        with service.body(request) as held:
            images = examples(held.take(), service.settings.max_images)
            answers = service.classify(request, images)
        top, classes = service.predictor.top, len(service.predictor.labels)
        return json(Classes([[[best.label, best.score] for best in top(a, classes)] for a in answers]))

    @blueprint.post("/v1/models/<word:name>:regress")
    @blueprint.post("/v1/models/<word:name>/versions/<word:version>:regress")
    @blueprint.post("/v1/models/<word:name>/labels/<word:label>:regress")
    def regress(name: str, version: str | None = None, label: str | None = None) -> Response:
        find(name, version, label)
        raise SignatureWrong("This model classifies and has no regression")


def any_case(environ: Environ) -> None:
    """Writes the words of a path in small letters, as this API takes them in any case. Names stay."""
    parts = environ["PATH_INFO"].split("/")
    if [part.lower() for part in parts[1:3]] != ["v1", "models"]:
        return
    for place, part in enumerate(parts):
        name, colon, verb = part.partition(":") if place in (3, 5) else ("", "", part)
        parts[place] = name + colon + verb.lower()
    environ["PATH_INFO"] = "/".join(parts)
