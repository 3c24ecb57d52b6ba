"""Routes of this server's own predictions: `POST /inference`, as in the tutorial, and `POST /predict`."""

import re

from flask import Blueprint, Response, g, request

from serving.api.errors import ParameterInvalid
from serving.api.request_context import RequestContext
from serving.api.response_schemas import ClassScore, Model, Predictions, Timing
from serving.api.responses import json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.model.predictor import Prediction

# Number of classes in a response of /inference, and the default of /predict.
TOP = 5
TOP_PATTERN = re.compile(r"[0-9]{1,6}")
# Decimal places of a probability in a response.
DIGITS = 6


def routes(service: Service) -> Blueprint:
    """The two routes."""
    blueprint = Blueprint("native", __name__)

    @blueprint.post("/inference")
    def inference() -> Response:
        (prediction,) = _predict(service, 1)
        return json_response(scores_by_label(g.model, prediction))

    @blueprint.post("/predict")
    def predict() -> Response:
        model: ServedModel = g.model
        top, level = _parse_top(len(model.labels)), _parse_level(model.reliability.levels)
        predictions = _predict(service, service.settings.max_images)
        model = g.model
        # A candidate may have no sets of this level.
        level = level if level in model.reliability.levels else None
        return json_response(predictions_document(model, predictions, g.context, top, level))

    return blueprint


def scores_by_label(model: ServedModel, prediction: Prediction) -> dict[str, float]:
    """The document of /inference: the best classes and their scores."""
    scores = model.predictor.top(prediction.probabilities, TOP)
    return {score.label: round(score.score, DIGITS) for score in scores}


def predictions_document(
    model: ServedModel,
    predictions: list[Prediction],
    context: RequestContext,
    top: int = TOP,
    level: float | None = None,
) -> Predictions:
    """The document of /predict, with the `top` best classes, and label sets of a level if there is one."""
    return Predictions(
        [_best_classes(model, prediction, top) for prediction in predictions],
        Model(**model.pin.identity),
        Timing(**context.milliseconds()),
        context.request_id,
        *model.reliability.judge(predictions, level),
    )


def _predict(service: Service, limit: int) -> list[Prediction]:
    """The prediction for each image of the request."""
    with service.read_images(request, limit) as images:
        return service.predict(request, images)


def _best_classes(model: ServedModel, prediction: Prediction, top: int) -> list[ClassScore]:
    scores = model.predictor.top(prediction.probabilities, top)
    return [ClassScore(score.label, score.id, round(score.score, DIGITS)) for score in scores]


def _parse_top(classes: int) -> int:
    # Most requests have no query; then parsing it is skipped.
    text = request.args.get("top") if request.query_string else None
    if text is None:
        return min(TOP, classes)
    if not TOP_PATTERN.fullmatch(text) or not 1 <= int(text) <= classes:
        raise ParameterInvalid("top", f"a whole number from 1 to {classes}, the number of classes")
    return int(text)


def default_level(levels: tuple[float, ...]) -> float | None:
    """The highest level of the label sets; None if the model has none."""
    return levels[-1] if levels else None


def _parse_level(levels: tuple[float, ...]) -> float | None:
    """The level of the label sets that the request asks for."""
    text = request.args.get("level") if request.query_string else None
    if text is None:
        return default_level(levels)
    for level in levels:
        if text == f"{level:g}":
            return level
    allowed = " or ".join(f"{level:g}" for level in levels)
    raise ParameterInvalid("level", allowed or "left out: this model has no label sets")
