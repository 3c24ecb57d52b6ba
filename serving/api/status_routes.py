"""Routes for operators: liveness, readiness, version, model card and metrics."""

from flask import Blueprint, Response, g, render_template, request

from serving.api.drift_panel import describe_drift, drift_panel
from serving.api.metrics import CONTENT_TYPE
from serving.api.model_states import model_states
from serving.api.protocols.mlflow_scoring import MLFLOW_VERSION
from serving.api.response_schemas import (
    Alive,
    ModelCard,
    ModelStates,
    Outcome,
    PreprocessingCard,
    Ready,
    Version,
)
from serving.api.responses import json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.model.preprocessing import Preprocessing


def routes(service: Service) -> Blueprint:
    """The routes, none of which needs a slot."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/livez")
    def livez() -> Response:
        return json_response(Alive("alive"))

    @blueprint.get("/readyz")
    def readyz() -> Response:
        service.check_ready()
        golden = service.models.default.golden
        return json_response(Ready("ready", golden.images, golden.tolerance, golden.difference))

    @blueprint.get("/version")
    def version() -> Response:
        if request.accept_mimetypes["text/plain"] > request.accept_mimetypes["application/json"]:
            # In MLflow's scoring protocol this path returns the version of MLflow.
            return Response(MLFLOW_VERSION, mimetype="text/plain")
        return json_response(
            Version(
                **g.model.pin.identity,
                precision=g.model.predictor.bundle.manifest.precision,
                pin_commit=g.model.release.pin_commit,
                runtime=service.runtime,
            )
        )

    @blueprint.get("/model")
    def model() -> Response:
        card = _model_card(service)
        if prefers_html():
            private = bool(service.settings.metrics_port)
            (state,) = [each for each in model_states(service) if each.name == card.name]
            drift = drift_panel(service)
            return Response(
                render_template("card.html", card=card, state=state, drift=drift, private=private)
            )
        return json_response(card)

    @blueprint.get("/models")
    def models() -> Response:
        return json_response(ModelStates(model_states(service)))

    @blueprint.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.render(g.context.timing.arrived), content_type=CONTENT_TYPE)

    return blueprint


def prefers_html() -> bool:
    """Does the client prefer HTML, as browsers do? Clients that accept anything get JSON."""
    accepted = request.accept_mimetypes
    return accepted["text/html"] > accepted["application/json"]


def outcome_response() -> Response:
    """The tutorial's response at `/`."""
    return json_response(Outcome("endpoint working successfully"))


def _model_card(service: Service) -> ModelCard:
    model: ServedModel = g.model
    manifest, preprocessing = model.predictor.bundle.manifest, model.predictor.preprocessing
    return ModelCard(
        **model.pin.identity,
        precision=manifest.precision,
        pin_commit=model.release.pin_commit,
        runtime=service.runtime,
        input=_describe_input(preprocessing),
        preprocessing=PreprocessingCard(**preprocessing.to_json()),
        classes=len(model.labels),
        labels=[label.name for label in model.labels],
        metrics=model.release.metrics,
        drift=describe_drift(service),
    )


def _describe_input(preprocessing: Preprocessing) -> str:
    """The part of an image that is classified, and its size, in words."""
    height, width, channels = preprocessing.shape
    is_square = height == width
    if preprocessing.resize == "squash":
        part = "whole image, stretched if it has another shape,"
    elif preprocessing.resize == "pad":
        part = "whole image, with black bars if it has another shape,"
    elif is_square:
        part = f"central square, {preprocessing.crop:.1%} of the shorter side,"
    else:
        part = f"central part, {preprocessing.crop:.1%} of the largest of this shape,"
    size = f"{height} x {width} pixels" if is_square else f"{width} x {height} pixels (width x height)"
    return f"{part} as {size}, {'RGB' if channels == 3 else 'grey'}"
