"""Routes of this server's own predictions: `POST /inference`, as in the tutorial, and `POST /predict`."""

import re
from dataclasses import asdict

from flask import Blueprint, Response, g, request

from serving.api.errors import ParameterInvalid
from serving.api.response_schemas import ClassScore, Model, Predictions, Timing
from serving.api.responses import json_response
from serving.api.service import Service
from serving.model.predictor import Score

# Number of classes in a response of /inference, and the default of /predict.
TOP = 5
TOP_PATTERN = re.compile(r"[0-9]{1,6}")
# Decimal places of a probability in a response.
DIGITS = 6


def routes(service: Service) -> Blueprint:
    """The two routes."""
    blueprint = Blueprint("native", __name__)
    model = Model(**asdict(service.release.pin))

    @blueprint.post("/inference")
    def inference() -> Response:
        (scores,) = _classify(service, 1, TOP)
        return json_response({score.label: round(score.score, DIGITS) for score in scores})

    @blueprint.post("/predict")
    def predict() -> Response:
        top = _parse_top(len(service.predictor.labels))
        by_image = _classify(service, service.settings.max_images, top)
        return json_response(
            Predictions(
                [[ClassScore(s.label, s.id, round(s.score, DIGITS)) for s in scores] for scores in by_image],
                model,
                Timing(**g.context.milliseconds()),
                g.context.request_id,
            )
        )

    return blueprint


def _classify(service: Service, limit: int, top: int) -> list[list[Score]]:
    """The best classes of each image of the request."""
    with service.read_images(request, limit) as images:
        predictions = service.classify(request, images)
    return [service.predictor.top(probabilities, top) for probabilities in predictions]


def _parse_top(classes: int) -> int:
    # Most requests have no query; then parsing it is skipped.
    text = request.args.get("top") if request.query_string else None
    if text is None:
        return min(TOP, classes)
    if not TOP_PATTERN.fullmatch(text) or not 1 <= int(text) <= classes:
        raise ParameterInvalid("top", f"a whole number from 1 to {classes}, the number of classes")
    return int(text)
