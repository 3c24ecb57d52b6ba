"""Explains a prediction: how much each place of the image speaks for a class."""

import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from serving.artifact.manifest import GRAPH
from serving.explanation.class_activation_map import ClassActivationMap, Map
from serving.model.decoder import Pixels
from serving.model.predictor import Predictor

# "cam": a class activation map. "occlusion": what the probability loses when a place is covered.
Method = Literal["cam", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

# Copies of a graph while ONNX Runtime opens it: its bytes, those with the addition, the parsed message, the
# weights, and the weights as the kernels want them.
SESSION_COPIES = 5
# Occlusion: places in each direction. Each costs a prediction.
GRID = 7
# The cover reaches beyond its place by this share of the place's side, so that no object is cut in halves
# that are each enough for the class.
OVERLAP = 0.5


class Explanation(NamedTuple):
    """`values` float32 [h,w], from top to bottom and from left to right.

    With "cam" their mean plus `bias` is the logit of the class, before the temperature. With "occlusion" a
    value is how much the logarithm of the class's probability falls when that place is covered, and `bias` is
    None.
    """

    method: Method
    values: Map
    bias: float | None


class Explainer:
    """Explains the predictions of one predictor. Thread-safe.

    The graph for class activation maps is opened when the first one is asked for: it takes as much memory as
    the served graph.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        # By label, or by an id that is not the label of another class.
        self.class_numbers = {label.id: number for number, label in enumerate(predictor.labels)}
        self.class_numbers |= {label.name: number for number, label in enumerate(predictor.labels)}
        self.has_map = predictor.bundle.explanation() is not None
        self._map: ClassActivationMap | None = None
        self._lock = threading.Lock()

    @property
    def later_bytes(self) -> int:
        """Upper bound of the memory that the graph for class activation maps will take once it is opened."""
        served = self.predictor.bundle.manifest.files[GRAPH].size
        return SESSION_COPIES * served if self.has_map else 0

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that this model allows, the default first."""
        return METHODS if self.has_map else ("occlusion",)

    def explain(
        self,
        pixels: Pixels,
        number: int,
        method: Method | None = None,
        before_prediction: Callable[[], None] = lambda: None,
    ) -> Explanation:
        """Explains why the image, uint8 [H,W,C], is of the class with this number.

        `before_prediction` is called before each prediction, and may raise.
        """
        if (method or self.methods[0]) == "cam" and (found := self._open_map()):
            before_prediction()
            return Explanation("cam", found.explain(pixels, number), found.bias(number))
        return Explanation("occlusion", self._occlude(pixels, number, before_prediction), None)

    def _open_map(self) -> ClassActivationMap | None:
        with self._lock:
            if self._map is None and self.has_map:
                self._map = ClassActivationMap.open(self.predictor.bundle)
            return self._map

    def _occlude(self, pixels: Pixels, number: int, before_prediction: Callable[[], None]) -> Map:
        def log_probability(image: Pixels) -> float:
            before_prediction()
            probability = self.predictor.predict_one(image).probabilities[number]
            return float(np.log(np.maximum(probability, np.finfo(np.float32).tiny)))

        mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        whole, values = log_probability(pixels), np.empty((GRID, GRID), np.float32)
        for row in range(GRID):
            for column in range(GRID):
                covered = pixels.copy()
                covered[_span(row, pixels.shape[0]), _span(column, pixels.shape[1])] = mean
                values[row, column] = whole - log_probability(covered)
        return values


def _span(index: int, side: int) -> slice:
    """The pixels of one axis that the cover of a place takes."""
    start, end = (index - OVERLAP) / GRID, (index + 1 + OVERLAP) / GRID
    return slice(max(0, round(start * side)), min(side, round(end * side)))
