"""`POST /explain`: which places of an image speak for a class, as a picture or as numbers."""

from flask import Blueprint, Response, g, request

from serving.api.classifier import ExplainedImage
from serving.api.errors import ParameterInvalid
from serving.api.openapi_responses import JSON, PNG
from serving.api.prediction_routes import DIGITS
from serving.api.response_schemas import Explained, ImageBox, Model, Timing
from serving.api.responses import json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.explanation.explainer import Method
from serving.model.resizing import source_box

# Decimal places of the values of a map, and of the pixels of a box.
VALUE_DIGITS, PIXEL_DIGITS = 6, 2


def routes(service: Service) -> Blueprint:
    """The route, unless the operator has turned it off."""
    blueprint = Blueprint("explanation", __name__)
    if not service.settings.explain:
        return blueprint

    @blueprint.post("/explain")
    def explain() -> Response:
        model: ServedModel = g.model
        number, method = _parse_class(model.explainer.class_numbers), _parse_method(model)
        accepted = request.accept_mimetypes
        as_picture = accepted[JSON] <= accepted[PNG]
        with service.read_images(request, 1) as images:
            explained = service.explain(request, images[0], number, method, as_picture)
        if explained.picture is not None:
            return Response(explained.picture, mimetype=PNG)
        return json_response(_document(model, explained))

    return blueprint


def _parse_class(numbers: dict[str, int]) -> int | None:
    text = request.args.get("class")
    if text is not None and text not in numbers:
        raise ParameterInvalid("class", "the label or the id of a class; /model lists the labels")
    return None if text is None else numbers[text]


def _parse_method(model: ServedModel) -> Method | None:
    methods = model.explainer.methods
    text = request.args.get("method")
    found: Method | None = next((method for method in methods if method == text), None)
    if text is not None and found is None:
        raise ParameterInvalid("method", f"{' or '.join(methods)} for this model")
    return found


def _document(model: ServedModel, explained: ExplainedImage) -> Explained:
    image, explanation = explained.image, explained.explanation
    label = model.labels[explained.number]
    box = source_box(image.upright_size, model.predictor.preprocessing)
    return Explained(
        label=label.name,
        id=label.id,
        score=round(explained.score, DIGITS),
        method=explanation.method,
        values=[[round(float(value), VALUE_DIGITS) for value in row] for row in explanation.values],
        bias=None if explanation.bias is None else round(explanation.bias, VALUE_DIGITS),
        box=ImageBox(*(round(side, PIXEL_DIGITS) for side in box)),
        width=image.upright_size[0],
        height=image.upright_size[1],
        model=Model(**model.pin.identity),
        milliseconds=Timing(**g.context.milliseconds()),
        request_id=g.context.request_id,
    )
