"""Explains the prediction for one image, as the server does: what `python -m pipeline explain` shows."""

from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ClassUnknown, MethodUnavailable
from serving.explanation.class_activation_map import Map
from serving.explanation.explainer import Explainer, Method
from serving.explanation.heatmap import draw_heatmap
from serving.model.decoder import decode
from serving.model.predictor import Predictor

MEANINGS: dict[Method, str] = {
    "cam": "the mean of these values plus {bias:.3f} is the logit",
    "occlusion": "what the logarithm of the probability loses when a place is covered",
}


class DrawnExplanation(NamedTuple):
    """A class with its probability, the values of its map [h,w] and what they mean, and the map as a PNG."""

    label: str
    score: float
    values: Map
    meaning: str
    picture: bytes


def explain_image(bundle: Path, image: Path, label: str | None, method: Method | None) -> DrawnExplanation:
    """Explains why an image file is of a class, by its label or id; by default of the most probable one.

    Raises `ClassUnknown` or `MethodUnavailable`, a `BundleError`, or an `ImageError`.
    """
    predictor = Predictor.open(bundle)
    explainer = Explainer(predictor)
    if method is not None and method not in explainer.methods:
        raise MethodUnavailable(method, explainer.methods)
    if label is not None and label not in explainer.class_numbers:
        raise ClassUnknown(label, [each.name for each in predictor.labels])
    pixels = decode(image.read_bytes(), predictor.preprocessing)
    probabilities = predictor.predict_one(pixels).probabilities
    number = int(probabilities.argmax()) if label is None else explainer.class_numbers[label]
    score = float(probabilities[number])
    explanation = explainer.explain(pixels, number, score, method)
    return DrawnExplanation(
        predictor.labels[number].name,
        score,
        explanation.values,
        MEANINGS[explanation.method].format(bias=explanation.bias),
        draw_heatmap(pixels, explanation.values),
    )
