"""Runs a bundle on a folder of labelled images, from encoded bytes as in the server."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.errors import DataRefused
from pipeline.evaluation.confidence_record import ConfidenceRecord
from pipeline.evaluation.metrics import ClassNumbers, rank_of_class
from pipeline.onnx.probability_check import check_probabilities
from serving.cpu_count import available_cores
from serving.model.decoder import decode
from serving.model.predictor import Predictor, Probabilities

# Images whose latency is measured, one after the other, and images before them that only warm up.
TIMED_IMAGES, WARM_UP_IMAGES = 50, 5
# Class number of an image whose class the model does not have: every prediction for it is wrong.
UNKNOWN_CLASS = -1
# Images whose full probabilities are kept, for the comparison with Keras, which needs two more slow passes.
# 1,000 suffice to find a difference in one image of a hundred.
SAMPLE_SIZE = 1000
NOT_YET_PREDICTED = np.empty(0, dtype=np.float32)
# Images per task of a thread: large enough that scheduling costs nothing, small enough that all cores finish
# at nearly the same time.
BLOCK_SIZE = 8


@dataclass(frozen=True)
class Predictions:
    """The predictions for N images: a few bytes per image, whatever the number of classes.

    One entry per image: its file, the actual class number (or `UNKNOWN_CLASS`), the predicted class (the
    first one among equals), its probability, and the rank of the actual class (0: predicted).
    """

    class_count: int
    files: list[Path]
    actual: ClassNumbers
    predicted: ClassNumbers
    confidence: Probabilities
    ranks: ClassNumbers
    # All probabilities of a sample of the images, evenly over the files: {index: float32 [K]}.
    sampled_probabilities: dict[int, Probabilities]
    # What the bundle's confidence says of each image; None if the bundle has none.
    confidence_record: ConfidenceRecord | None = None

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.actual)


def predict_folder(predictor: Predictor, folder: Path, strict: bool = True) -> Predictions:
    """Predicts every image of `folder/<class id>/`, on all cores.

    If `strict`, raises for a class that the model does not have and for outputs that are no probabilities.
    Otherwise such a class is `UNKNOWN_CLASS`, and the outputs are used as they are.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    actual = _actual_classes(predictor, folder, files, strict)
    total = len(files)
    predictions = Predictions(
        class_count=len(predictor.labels),
        files=files,
        actual=actual,
        predicted=np.empty(total, dtype=np.int64),
        confidence=np.empty(total, dtype=np.float32),
        ranks=np.empty(total, dtype=np.int64),
        sampled_probabilities=dict.fromkeys(
            range(0, total, max(1, -(-total // SAMPLE_SIZE))), NOT_YET_PREDICTED
        ),
        confidence_record=ConfidenceRecord.empty(predictor.bundle.confidence(), total),
    )
    with (
        ThreadPoolExecutor(max(1, round(available_cores()))) as pool,
        tqdm(total=total, desc="predict", unit="image", disable=None) as bar,
    ):
        blocks = [range(begin, min(begin + BLOCK_SIZE, total)) for begin in range(0, total, BLOCK_SIZE)]
        for rows in pool.map(lambda rows: _predict_rows(predictions, predictor, rows, strict), blocks):
            bar.update(len(rows))
    return predictions


def _actual_classes(predictor: Predictor, folder: Path, files: Sequence[Path], strict: bool) -> ClassNumbers:
    """The actual class of each image, by the name of its folder."""
    numbers = {label.id: index for index, label in enumerate(predictor.labels)}
    names = [path.relative_to(folder).parts[0] for path in files]
    unknown = sorted({name for name in names if name not in numbers})
    if strict and unknown:
        raise DataRefused(folder, [(f"{name}/", "the model has no such class") for name in unknown])
    return np.array([numbers.get(name, UNKNOWN_CLASS) for name in names], dtype=np.int64)


def _predict_rows(predictions: Predictions, predictor: Predictor, rows: range, strict: bool) -> range:
    """Predicts the images with these indices one by one, as the server does, and stores the results."""
    for row in rows:
        pixels = decode(predictions.files[row].read_bytes(), predictor.preprocessing)
        probabilities, energy = predictor.predict_one(pixels)
        if strict:
            check_probabilities(probabilities, predictions.files[row])
        actual, winner = int(predictions.actual[row]), int(probabilities.argmax())
        predictions.predicted[row] = winner
        predictions.confidence[row] = probabilities[winner]
        known = actual != UNKNOWN_CLASS
        predictions.ranks[row] = rank_of_class(probabilities, actual) if known else predictions.class_count
        if predictions.confidence_record is not None:
            predictions.confidence_record.add(row, probabilities, energy, actual if known else None)
        if row in predictions.sampled_probabilities:
            predictions.sampled_probabilities[row] = probabilities
    return rows


def measure_latency(predictor: Predictor, files: Sequence[Path]) -> dict[str, float]:
    """Milliseconds per image on this machine, one image after the other on one thread."""
    decoding, predicting = [], []
    for path in [*files[:WARM_UP_IMAGES], *files[:TIMED_IMAGES]]:
        data = path.read_bytes()
        begin = time.perf_counter()
        pixels = decode(data, predictor.preprocessing)
        decoded = time.perf_counter()
        predictor.predict(pixels[np.newaxis])
        decoding.append(1000 * (decoded - begin))
        predicting.append(1000 * (time.perf_counter() - decoded))
    measured = slice(min(WARM_UP_IMAGES, len(files)), None)
    total = np.add(decoding[measured], predicting[measured])
    return {
        "decode_ms_p50": float(np.median(decoding[measured])),
        "predict_ms_p50": float(np.median(predicting[measured])),
        "total_ms_p50": float(np.median(total)),
        "total_ms_p95": float(np.percentile(total, 95)),
    }
