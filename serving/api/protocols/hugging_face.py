"""Hugging Face's image classification, for `InferenceClient().image_classification(model=url)`."""

from typing import Annotated, Literal

from flask import Blueprint, Response, g, request
from msgspec import Meta, Struct

from serving.api.json_images import looks_like_json
from serving.api.protocols.json_documents import check_document, one_large_body_at_a_time, parse
from serving.api.responses import json_response
from serving.api.service import Service

PREFIX = "/hf"
# The default of Hugging Face's pipelines.
TOP = 5


class ClassificationParameters(Struct):
    """The number of classes; the response has fewer if the model has fewer."""

    top_k: Annotated[int, Meta(ge=1)] | None = None
    # The model's output is a softmax; no other function is available.
    function_to_apply: Literal["softmax"] | None = None


class ClassificationRequest(Struct):
    """An image in base64, and parameters."""

    inputs: bytes
    parameters: ClassificationParameters | None = None


class FoundClass(Struct):
    """One class of a prediction."""

    label: str
    score: float


def routes(service: Service) -> Blueprint:
    """The one route; its URL is the client's `model`."""
    blueprint = Blueprint("hugging_face", __name__)

    @blueprint.post("/hf/classify")
    def classify() -> Response:
        with service.read_body(request) as body:
            image, top = _parse_request(body.take())
            (probabilities,) = service.classify(request, [image])
        scores = g.model.predictor.top(probabilities, top)
        return json_response([FoundClass(score.label, score.score) for score in scores])

    return blueprint


@one_large_body_at_a_time
def _parse_request(body: bytes) -> tuple[bytes, int]:
    """The image and the number of classes. The body is JSON or the image, as its first bytes show."""
    if not looks_like_json(body):
        return body, TOP
    check_document(body, 1)
    document = parse(body, ClassificationRequest)
    parameters = document.parameters or ClassificationParameters()
    return document.inputs, parameters.top_k or TOP
