"""The Open Inference Protocol, version 2, over HTTP, as KServe and Triton implement it.

The Content-Type is ignored: Triton's client sends none.
"""

from dataclasses import replace

from flask import Blueprint, Response, g, request

from serving.api.errors import LoadingRefused
from serving.api.model_repository import ModelEntry
from serving.api.protocols import (
    binary_tensors,
    open_inference_metadata,
    open_inference_request,
    tensorflow_metadata,
)
from serving.api.protocols.open_inference_response import inference_response
from serving.api.responses import json_response
from serving.api.service import Service

PREFIX = "/v2"


def routes(service: Service) -> Blueprint:
    """Health, metadata, inference, and Triton's read-only extensions."""
    blueprint = Blueprint("open_inference", __name__)
    limit = service.settings.max_images
    _add_model_routes(blueprint, service)

    @blueprint.get("/v2")
    def server() -> Response:
        return json_response(open_inference_metadata.server())

    @blueprint.get("/v2/health/live")
    def live() -> Response:
        return json_response(open_inference_metadata.Live())

    @blueprint.get("/v2/health/ready")
    def ready() -> Response:
        service.check_ready()
        return json_response(open_inference_metadata.ServerReady())

    @blueprint.post("/v2/models/<segment:name>/infer")
    @blueprint.post("/v2/models/<segment:name>/versions/<segment:version>/infer")
    def infer(name: str, version: str | None = None) -> Response:
        entry = service.find_model(name, version)
        with service.read_body(request) as body:
            header = request.headers.get(binary_tensors.LENGTH_HEADER)
            images, options = open_inference_request.parse_request(body.take(), header, entry, limit)
            predictions = service.classify(request, images)
        return inference_response(replace(entry, model=g.model), options, predictions)

    @blueprint.post("/v2/repository/index")
    def index() -> Response:
        return json_response(
            open_inference_metadata.index(service.models.all_entries, service.readiness_error is None)
        )

    @blueprint.post("/v2/repository/models/<segment:name>/load")
    @blueprint.post("/v2/repository/models/<segment:name>/unload")
    def load(name: str) -> Response:
        service.find_model(name)
        raise LoadingRefused

    return blueprint


def _add_model_routes(blueprint: Blueprint, service: Service) -> None:
    find, repository = service.find_model, service.models

    @blueprint.get("/v2/models")
    def models() -> Response:
        return json_response(tensorflow_metadata.Names([entry.name for entry in repository.entries]))

    @blueprint.get("/v2/models/<segment:name>")
    @blueprint.get("/v2/models/<segment:name>/versions/<segment:version>")
    def metadata(name: str, version: str | None = None) -> Response:
        return json_response(open_inference_metadata.metadata(find(name, version)))

    @blueprint.get("/v2/models/<segment:name>/ready")
    @blueprint.get("/v2/models/<segment:name>/versions/<segment:version>/ready")
    def model_ready(name: str, version: str | None = None) -> Response:
        entry = find(name, version)
        service.check_ready()
        return json_response(open_inference_metadata.ModelReady(entry.name))

    @blueprint.get("/v2/models/<segment:name>/config")
    @blueprint.get("/v2/models/<segment:name>/versions/<segment:version>/config")
    def config(name: str, version: str | None = None) -> Response:
        return json_response(open_inference_metadata.config(find(name, version), service.settings.max_images))

    @blueprint.get("/v2/models/stats")
    def all_statistics() -> Response:
        by_model = [_statistics(entry) for entry in repository.all_entries]
        return json_response(open_inference_metadata.Statistics(by_model))

    @blueprint.get("/v2/models/<segment:name>/stats")
    @blueprint.get("/v2/models/<segment:name>/versions/<segment:version>/stats")
    def statistics(name: str, version: str | None = None) -> Response:
        entry = find(name, version)
        return json_response(open_inference_metadata.Statistics([_statistics(entry)]))


def _statistics(entry: ModelEntry) -> open_inference_metadata.ModelStatistics:
    statistics = entry.model.tensor_statistics if entry.pixels else entry.model.image_statistics
    return open_inference_metadata.statistics(entry, statistics.read())
