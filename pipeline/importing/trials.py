"""Tries ways to prepare pixels on labelled photos. Those clearly worse than the best one are dropped."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tqdm import tqdm

from pipeline.evaluation.metrics import one_sided_mcnemar_p_value, wilson_interval
from pipeline.importing.declaration import Declaration
from pipeline.importing.label_order import LabelOrder, find_label_order
from pipeline.model_files.model_file import OUTPUTS, VALUES, Description, Head
from pipeline.onnx.served_graph import scale_pixels
from serving.cpu_count import available_cores
from serving.errors import ImageError
from serving.model.decoder import Pixels, Preprocessing, decode

# After this number of photos, and after each doubling, candidates that are clearly worse are dropped.
FIRST_ROUND = 24
# Level of the paired test that drops a candidate. It is strict, because it is applied often.
CLEARLY_WORSE = 1e-4
NOT_TRIED = -1
# For an image that the decoder refuses with this preprocessing, as the server would: no class is right.
REFUSED = -2

ClassNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledFile:
    """A photo and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Trial:
    """A candidate and its predictions: the class for each photo, `NOT_TRIED` after it was dropped."""

    declaration: Declaration
    predicted: ClassNumbers
    actual: ClassNumbers

    @property
    def photos(self) -> int:
        return int((self.predicted != NOT_TRIED).sum())

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.actual)

    @property
    def top1(self) -> float:
        return float(self.correct.sum() / max(1, self.photos))

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`."""
        return wilson_interval(int(self.correct.sum()), max(1, self.photos))

    def label_order(self, labels: Sequence[str]) -> LabelOrder | None:
        """A better order of the labels, judged by the photos that were predicted."""
        predicted = self.predicted >= 0
        return find_label_order(self.predicted[predicted], self.actual[predicted], labels)

    def worse_than(self, other: "Trial") -> tuple[int, int, float]:
        """Photos that only `other` has right, that only this one has right, and McNemar's p-value."""
        both = (self.predicted != NOT_TRIED) & (other.predicted != NOT_TRIED)
        lost = int((both & other.correct & ~self.correct).sum())
        gained = int((both & self.correct & ~other.correct).sum())
        return lost, gained, one_sided_mcnemar_p_value(lost, gained)


@dataclass(frozen=True)
class Network:
    """An imported network without preprocessing, see `ModelFile.to_onnx`."""

    description: Description
    head: Head
    session: ort.InferenceSession

    @classmethod
    def open(cls, graph: bytes, description: Description, head: Head) -> "Network":
        """Loads the graph; one thread for each prediction, because several run at once."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return cls(
            description, head, ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        )

    def predict_classes(self, pixels: Pixels, declarations: Sequence[Declaration]) -> list[int]:
        """The class of one image, uint8 [H,W,C], for each way to scale it."""
        classes = []
        for declaration in declarations:
            scaling = declaration.scaling(self.description)
            values = scale_pixels(pixels[np.newaxis], scaling, declaration.channels == "BGR")
            (outputs,) = self.session.run([OUTPUTS], {VALUES: values})
            classes.append(_winner(outputs[0], self.head))
        return classes


def run_trials(
    network: Network,
    photos: Sequence[LabelledFile],
    declarations: Sequence[Declaration],
    keep: Iterable[Declaration] = (),
    description: str = "try",
) -> list[Trial]:
    """Predicts the photos with every declaration, best first. `keep` are never dropped.

    The order of `photos` matters: the first ones are seen by all candidates, so classes should take turns.
    """
    actual = np.array([photo.label for photo in photos], dtype=np.int64)
    trials = [
        Trial(declaration, np.full(len(photos), NOT_TRIED, dtype=np.int64), actual)
        for declaration in declarations
    ]
    active, begin, end = list(trials), 0, FIRST_ROUND
    kept = tuple(keep)
    with (
        ThreadPoolExecutor(max(1, round(available_cores()))) as pool,
        tqdm(total=len(photos), desc=description, unit="photo", disable=None) as bar,
    ):
        while begin < len(photos):
            chunk = range(begin, min(end, len(photos)))
            task = _photo_task(network, photos, active)
            for _ in pool.map(task, chunk):
                bar.update()
            begin, end = chunk.stop, 2 * chunk.stop
            active = _without_clearly_worse(active, kept)
            bar.set_postfix_str(f"{len(active)} of {len(trials)} ways left")
    return sorted(trials, key=lambda trial: (-trial.photos, -trial.top1))


def _photo_task(
    network: Network, photos: Sequence[LabelledFile], active: Sequence[Trial]
) -> Callable[[int], None]:
    by_preprocessing: dict[Preprocessing, list[Trial]] = {}
    for trial in active:
        by_preprocessing.setdefault(trial.declaration.preprocessing, []).append(trial)

    def run(index: int) -> None:
        data = photos[index].path.read_bytes()
        for preprocessing, members in by_preprocessing.items():
            classes = [REFUSED] * len(members)
            # Without antialiasing an image is decoded in full size, for which it may be too large.
            with suppress(ImageError):
                pixels = decode(data, preprocessing)
                classes = network.predict_classes(pixels, [trial.declaration for trial in members])
            for trial, number in zip(members, classes, strict=True):
                trial.predicted[index] = number

    return run


def _without_clearly_worse(active: list[Trial], kept: tuple[Declaration, ...]) -> list[Trial]:
    best = max(active, key=lambda trial: trial.top1)
    return [
        trial
        for trial in active
        if trial.declaration in kept or not trial.worse_than(best)[2] < CLEARLY_WORSE
    ]


def _winner(outputs: npt.NDArray[Any], head: Head) -> int:
    """The number of the class with the highest output."""
    if head in ("softmax", "logits"):
        return int(outputs.argmax())
    return int(outputs[0] > (0.5 if head == "sigmoid" else 0))
