"""For whoever runs the server: is it alive, is it ready, what does it serve, how busy is it?"""

from dataclasses import asdict

from flask import Blueprint, Response, g, render_template, request

from serving.api.metrics import CONTENT_TYPE
from serving.api.protocols.mlflow_scoring import VERSION as MLFLOW
from serving.api.response_schemas import Alive, ModelCard, Outcome, Ready, Version
from serving.api.responses import json
from serving.api.service import Service


def routes(service: Service) -> Blueprint:
    """The routes that need no slot."""
    blueprint = Blueprint("operations", __name__)
    pin = service.release.pin

    @blueprint.get("/livez")
    def livez() -> Response:
        return json(Alive("alive"))

    @blueprint.get("/readyz")
    def readyz() -> Response:
        service.check_ready()
        return json(Ready("ready", service.golden_images, service.tolerance, service.difference))

    @blueprint.get("/version")
    def version() -> Response:
        if request.accept_mimetypes["text/plain"] > request.accept_mimetypes["application/json"]:
            # MLflow's servers tell here which MLflow they are.
            return Response(MLFLOW, mimetype="text/plain")
        return json(
            Version(
                **asdict(pin),
                precision=service.predictor.bundle.manifest.precision,
                pin_commit=service.release.pin_commit,
                runtime=service.runtime,
            )
        )

    @blueprint.get("/model")
    def model() -> Response:
        card = _card(service)
        if wants_page():
            return Response(render_template("card.html", card=card))
        return json(card)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.text(g.trace.turn.arrived), content_type=CONTENT_TYPE)

    return blueprint


def wants_page() -> bool:
    """Does a browser ask? Programs that take anything get JSON."""
    kinds = request.accept_mimetypes
    return kinds["text/html"] > kinds["application/json"]


def outcome() -> Response:
    """The tutorial's answer at `/`."""
    return json(Outcome("endpoint working successfully"))


def _card(service: Service) -> ModelCard:
    manifest = service.predictor.bundle.manifest
    shape = manifest.input_shape
    crop = service.predictor.preprocessing.crop
    return ModelCard(
        **asdict(service.release.pin),
        precision=manifest.precision,
        pin_commit=service.release.pin_commit,
        runtime=service.runtime,
        input=f"central square, {crop:.1%} of the shorter side, as {shape[0]} x {shape[1]} pixels, RGB",
        classes=len(service.predictor.labels),
        labels=[label.name for label in service.predictor.labels],
        metrics=service.release.metrics,
    )
