"""Hugging Face's image classification, as `InferenceClient().image_classification(model=url)` asks."""

from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from serving.api.json_images import looks_like_json
from serving.api.protocols.json_documents import check, in_turn, parse
from serving.api.responses import json
from serving.api.service import Service

PREFIX = "/hf"
# As their pipelines do unless told otherwise.
TOP = 5


class ClassificationParameters(Struct):
    """How many classes; fewer if there are not so many."""

    top_k: Annotated[int, Meta(ge=1)] | None = None
    # The probabilities are what the model gives; nothing else is computed from them.
    function_to_apply: Literal["softmax"] | None = None


class ClassificationRequest(Struct):
    """An image in base64, and parameters."""

    inputs: bytes
    parameters: ClassificationParameters | None = None


class FoundClass(Struct):
    """One class of the answer."""

    label: str
    score: float


def routes(service: Service) -> Blueprint:
    """The one path; the client's `model` is its URL."""
    blueprint = Blueprint("hugging_face", __name__)

    @blueprint.post("/hf/classify")
    def classify() -> Response:
        with service.body(request) as held:
            image, top = _read(held.take())
            (answer,) = service.classify(request, [image])
        return json([FoundClass(best.label, best.score) for best in service.predictor.top(answer, top)])

    return blueprint


@in_turn
def _read(body: bytes) -> tuple[bytes, int]:
    """The image, which is the body itself or in a document: its beginning tells."""
    if not looks_like_json(body):
        return body, TOP
    check(body, 1)
    question = parse(body, ClassificationRequest)
    parameters = question.parameters or ClassificationParameters()
    return question.inputs, parameters.top_k or TOP
