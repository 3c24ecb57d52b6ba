"""Explains a prediction: how much each place of the image speaks for a class."""

import math
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from serving.artifact.manifest import GRAPH, HEAD
from serving.errors import ContractBroken
from serving.explanation.class_activation_map import ClassActivationMap, Map
from serving.model.decoder import Pixels
from serving.model.predictor import Predictor

# "cam": a class activation map. "occlusion": what the probability loses when a place is covered.
Method = Literal["cam", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

# Copies of a graph while ONNX Runtime opens it: its bytes, those with the addition, the parsed message, the
# weights, and the weights as the kernels want them.
SESSION_COPIES = 5
# Seconds after which a request that waits for the graph to be opened looks at its deadline.
LOCK_SECONDS = 0.1
# Occlusion: places in each direction. Each costs a prediction.
GRID = 7
# Predictions of an explanation by occlusion, besides that of the image itself.
PREDICTIONS = GRID**2
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
        self._map: ClassActivationMap | ContractBroken | None = None
        self._lock = threading.Lock()

    @property
    def later_bytes(self) -> int:
        """Upper bound of the memory that the graph for class activation maps will take once it is opened."""
        files = self.predictor.bundle.manifest.files
        return SESSION_COPIES * files[GRAPH].size + files[HEAD].size if self.has_map else 0

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that this model allows, the default first."""
        return METHODS if self.has_map else ("occlusion",)

    def explain(
        self,
        pixels: Pixels,
        number: int,
        probability: float,
        method: Method | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Explanation:
        """Explains why the image, uint8 [H,W,C], is of the class with this number and this probability.

        `check` is called before each prediction, and while the graph is being opened; it may raise. Raises
        `ContractBroken` if the bundle's explanation cannot be used.
        """
        if (method or self.methods[0]) == "cam":
            found = self._open_map(check)
            check()
            explanation = Explanation("cam", found.explain(pixels, number), found.bias(number))
        else:
            explanation = Explanation("occlusion", self._occlude(pixels, number, probability, check), None)
        if not np.isfinite(explanation.values).all():
            raise ContractBroken(self.predictor.bundle.path / GRAPH, "an explanation is not finite")
        return explanation

    def _open_map(self, check: Callable[[], None]) -> ClassActivationMap:
        """The map, opened once; what failed is not tried again."""
        while not self._lock.acquire(timeout=LOCK_SECONDS):
            check()
        try:
            if self._map is None:
                self._map = self._try_to_open()
        finally:
            self._lock.release()
        if isinstance(self._map, ContractBroken):
            # The same object every time: its traceback would grow with each request.
            raise self._map.with_traceback(None)
        return self._map

    def _try_to_open(self) -> ClassActivationMap | ContractBroken:
        try:
            return ClassActivationMap.open(self.predictor.bundle)
        except ContractBroken as error:
            return error

    def _occlude(self, pixels: Pixels, number: int, probability: float, check: Callable[[], None]) -> Map:
        mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        values = np.empty((GRID, GRID), np.float32)
        for row in range(GRID):
            for column in range(GRID):
                check()
                covered = pixels.copy()
                covered[_span(row, pixels.shape[0]), _span(column, pixels.shape[1])] = mean
                left = float(self.predictor.predict_one(covered).probabilities[number])
                values[row, column] = _log(probability) - _log(left)
        return values


def _log(probability: float) -> float:
    # The logarithm of 0 would be infinite.
    return math.log(max(probability, float(np.finfo(np.float32).tiny)))


def _span(index: int, side: int) -> slice:
    """The pixels of one axis that the cover of a place takes."""
    start, end = (index - OVERLAP) / GRID, (index + 1 + OVERLAP) / GRID
    return slice(max(0, round(start * side)), min(side, round(end * side)))
