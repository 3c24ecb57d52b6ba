"""`POST /inference`, which keeps the tutorial's promise, and `POST /predict`, which says more."""

import re
from dataclasses import asdict

from flask import Blueprint, Response, g, request

from serving.api.errors import ParameterInvalid
from serving.api.response_schemas import ClassScore, Model, Predictions, Timing
from serving.api.responses import json
from serving.api.service import Service
from serving.model.predictor import Score

# As many classes as /inference names.
TOP = 5
TOP_FORM = re.compile(r"[0-9]{1,6}")
# Digits of a probability that an answer shows.
DIGITS = 6


def routes(service: Service) -> Blueprint:
    """The two routes."""
    blueprint = Blueprint("native", __name__)
    model = Model(**asdict(service.release.pin))

    @blueprint.post("/inference")
    def inference() -> Response:
        (scores,) = _ask(service, 1, TOP)
        return json({score.label: round(score.score, DIGITS) for score in scores})

    @blueprint.post("/predict")
    def predict() -> Response:
        top = _top(len(service.predictor.labels))
        answers = _ask(service, service.settings.max_images, top)
        return json(
            Predictions(
                [[ClassScore(s.label, s.id, round(s.score, DIGITS)) for s in scores] for scores in answers],
                model,
                Timing(**g.trace.milliseconds()),
                g.trace.request_id,
            )
        )

    return blueprint


def _ask(service: Service, limit: int, top: int) -> list[list[Score]]:
    with service.images(request, limit) as images:
        answers = service.classify(request, images)
    return [service.predictor.top(answer, top) for answer in answers]


def _top(classes: int) -> int:
    # Without a query, as mostly, it need not be taken apart.
    text = request.args.get("top") if request.query_string else None
    if text is None:
        return min(TOP, classes)
    if not TOP_FORM.fullmatch(text) or not 1 <= int(text) <= classes:
        raise ParameterInvalid("top", f"a whole number from 1 to {classes}, the number of classes")
    return int(text)
