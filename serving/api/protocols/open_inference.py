"""The Open Inference Protocol, version 2, over HTTP, as KServe and Triton speak it.

Nothing is decided by Content-Type, of which Triton's client sends none.
"""

from flask import Blueprint, Response, request

from serving.api.errors import LoadingRefused
from serving.api.protocols import (
    binary_tensors,
    open_inference_metadata,
    open_inference_request,
    tensorflow_metadata,
)
from serving.api.protocols.open_inference_response import answer
from serving.api.responses import json
from serving.api.service import Service

PREFIX = "/v2"


def routes(service: Service) -> Blueprint:
    """Health, metadata, inference, and Triton's extensions that only tell something."""
    blueprint = Blueprint("open_inference", __name__)
    catalogue, limit = service.catalogue, service.settings.max_images
    _about_models(blueprint, service)

    @blueprint.get("/v2")
    def server() -> Response:
        return json(open_inference_metadata.server())

    @blueprint.get("/v2/health/live")
    def live() -> Response:
        return json(open_inference_metadata.Live())

    @blueprint.get("/v2/health/ready")
    def ready() -> Response:
        service.check_ready()
        return json(open_inference_metadata.ServerReady())

    @blueprint.post("/v2/models/<word:name>/infer")
    @blueprint.post("/v2/models/<word:name>/versions/<word:version>/infer")
    def infer(name: str, version: str | None = None) -> Response:
        entry = catalogue.find(name, version)
        with service.body(request) as held:
            header = request.headers.get(binary_tensors.HEADER)
            images, wanted = open_inference_request.read(held.take(), header, entry, limit)
            answers = service.classify(request, images)
        return answer(entry, wanted, answers)

    @blueprint.post("/v2/repository/index")
    def index() -> Response:
        return json(open_inference_metadata.index(catalogue.entries, service.unready is not None))

    @blueprint.post("/v2/repository/models/<word:name>/load")
    @blueprint.post("/v2/repository/models/<word:name>/unload")
    def load(name: str) -> Response:
        catalogue.find(name)
        raise LoadingRefused

    return blueprint


def _about_models(blueprint: Blueprint, service: Service) -> None:
    find, entries = service.catalogue.find, service.catalogue.entries

    @blueprint.get("/v2/models")
    def models() -> Response:
        return json(tensorflow_metadata.Names([entry.name for entry in entries]))

    @blueprint.get("/v2/models/<word:name>")
    @blueprint.get("/v2/models/<word:name>/versions/<word:version>")
    def metadata(name: str, version: str | None = None) -> Response:
        return json(open_inference_metadata.metadata(find(name, version)))

    @blueprint.get("/v2/models/<word:name>/ready")
    @blueprint.get("/v2/models/<word:name>/versions/<word:version>/ready")
    def model_ready(name: str, version: str | None = None) -> Response:
        entry = find(name, version)
        service.check_ready()
        return json(open_inference_metadata.ModelReady(entry.name))

    @blueprint.get("/v2/models/<word:name>/config")
    @blueprint.get("/v2/models/<word:name>/versions/<word:version>/config")
    def config(name: str, version: str | None = None) -> Response:
        return json(open_inference_metadata.config(find(name, version), service.settings.max_images))

    @blueprint.get("/v2/models/stats")
    def all_statistics() -> Response:
        return json(
            open_inference_metadata.Statistics([_statistics(service, entry.name) for entry in entries])
        )

    @blueprint.get("/v2/models/<word:name>/stats")
    @blueprint.get("/v2/models/<word:name>/versions/<word:version>/stats")
    def statistics(name: str, version: str | None = None) -> Response:
        entry = find(name, version)
        return json(open_inference_metadata.Statistics([_statistics(service, entry.name)]))


def _statistics(service: Service, name: str) -> open_inference_metadata.ModelStatistics:
    entry = service.catalogue.find(name)
    tally = service.classifier.tensors if entry.pixels else service.classifier.encoded
    return open_inference_metadata.statistics(entry, tally.read())
