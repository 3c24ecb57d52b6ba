"""A bundle's answers to a folder of labelled images: encoded bytes in, as the server gets them."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.errors import DataRefused
from pipeline.evaluation.metrics import Classes, rank
from pipeline.onnx.probability_check import check_probabilities
from serving.cpu_count import available_cores
from serving.model.decoder import decode
from serving.model.predictor import Predictor, Probabilities

# Images whose latency is measured, one after the other, after as many that only warm up.
TIMED, WARM_UP = 50, 5


# The class number of images whose class the model does not have: no answer to them is right.
NO_CLASS = -1
# Images whose probabilities are kept whole, for the comparison with Keras, whose two more passes are slow; so
# many are enough to notice one in a hundred that differs.
WHOLE = 1000
NOTHING = np.empty(0, dtype=np.float32)
# Images that a thread takes at a time: enough that taking them costs nothing, few enough that at the end no
# core waits for another.
BLOCK = 8


@dataclass(frozen=True)
class Answers:
    """What is kept of the answers to N images: a few bytes of each, however many classes there are.

    Of each image: its file, the actual class number (or `NO_CLASS`), the winner (among equals the first),
    the winner's probability, and the place of the actual class, 0 for the winner.
    """

    classes: int
    files: list[Path]
    actual: Classes
    predicted: Classes
    confidence: Probabilities
    ranks: Classes
    # All probabilities of some images, evenly over the files: {number of the image: float32 [K]}.
    whole: dict[int, Probabilities]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.actual)


def ask(predictor: Predictor, folder: Path, strict: bool = True) -> Answers:
    """Asks about every image of `folder/<class id>/`, on all cores.

    A class that the model does not have is refused or, if not `strict`, counts as `NO_CLASS`. So are answers
    that are no probabilities, which count as they are if not `strict`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    actual = _numbers(predictor, folder, files, strict)
    total = len(files)
    answers = Answers(
        classes=len(predictor.labels),
        files=files,
        actual=actual,
        predicted=np.empty(total, dtype=np.int64),
        confidence=np.empty(total, dtype=np.float32),
        ranks=np.empty(total, dtype=np.int64),
        whole=dict.fromkeys(range(0, total, max(1, -(-total // WHOLE))), NOTHING),
    )
    with (
        ThreadPoolExecutor(max(1, round(available_cores()))) as pool,
        tqdm(total=total, desc="ask", unit="image", disable=None) as bar,
    ):
        for rows in pool.map(lambda rows: _fill(answers, predictor, rows, strict), _blocks(total)):
            bar.update(len(rows))
    return answers


def _numbers(predictor: Predictor, folder: Path, files: Sequence[Path], strict: bool) -> Classes:
    """The actual class of each image, by the name of its folder."""
    number = {label.id: index for index, label in enumerate(predictor.labels)}
    names = [path.relative_to(folder).parts[0] for path in files]
    unknown = sorted({name for name in names if name not in number})
    if strict and unknown:
        raise DataRefused(folder, [(f"{name}/", "the model has no such class") for name in unknown])
    return np.array([number.get(name, NO_CLASS) for name in names], dtype=np.int64)


def _blocks(total: int) -> list[range]:
    return [range(begin, min(begin + BLOCK, total)) for begin in range(0, total, BLOCK)]


def _fill(answers: Answers, predictor: Predictor, rows: range, strict: bool) -> range:
    """Asks about the images of these numbers, one by one as the server would."""
    for row in rows:
        answer = predictor.classify(answers.files[row].read_bytes())
        if strict:
            check_probabilities(answer, answers.files[row])
        actual, winner = int(answers.actual[row]), int(answer.argmax())
        answers.predicted[row] = winner
        answers.confidence[row] = answer[winner]
        answers.ranks[row] = answers.classes if actual == NO_CLASS else rank(answer, actual)
        if row in answers.whole:
            answers.whole[row] = answer
    return rows


def latency(predictor: Predictor, files: Sequence[Path]) -> dict[str, float]:
    """Milliseconds per image on this machine, one image after the other on one thread."""
    decoding, predicting = [], []
    for path in [*files[:WARM_UP], *files[:TIMED]]:
        data = path.read_bytes()
        begin = time.perf_counter()
        pixels = decode(data, predictor.preprocessing)
        decoded = time.perf_counter()
        predictor.predict(pixels[np.newaxis])
        decoding.append(1000 * (decoded - begin))
        predicting.append(1000 * (time.perf_counter() - decoded))
    measured = slice(min(WARM_UP, len(files)), None)
    both = np.add(decoding[measured], predicting[measured])
    return {
        "decode_ms_p50": float(np.median(decoding[measured])),
        "predict_ms_p50": float(np.median(predicting[measured])),
        "total_ms_p50": float(np.median(both)),
        "total_ms_p95": float(np.percentile(both, 95)),
    }
