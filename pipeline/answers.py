"""A bundle's answers to a folder of labelled images: encoded bytes in, as the server gets them."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.errors import DataRefused
from serving.decoder import decode
from serving.predictor import Predictor

# Images whose latency is measured, one after the other, after as many that only warm up.
TIMED, WARM_UP = 50, 5


@dataclass(frozen=True)
class Answers:
    """The images' files, the actual class number of each [N], and the probabilities float32 [N,K]."""

    files: list[Path]
    actual: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The winner of each answer [N]; among equals the first."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted == self.actual)


# The class number of images whose class the model does not have: no answer to them is right.
NO_CLASS = -1


def ask(predictor: Predictor, folder: Path, strict: bool = True) -> Answers:
    """Asks about every image of `folder/<class id>/`, on all cores.

    A class that the model does not have is refused or, if not `strict`, counts as `NO_CLASS`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    number = {label.id: index for index, label in enumerate(predictor.labels)}
    names = [path.relative_to(folder).parts[0] for path in files]
    unknown = sorted({name for name in names if name not in number})
    if strict and unknown:
        raise DataRefused(folder, [(f"{name}/", "the model has no such class") for name in unknown])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(lambda path: predictor.answer(path.read_bytes()), files)
        probabilities = np.empty((len(files), len(predictor.labels)), dtype=np.float32)
        for index, row in enumerate(tqdm(rows, total=len(files), desc="ask", unit="image", disable=None)):
            probabilities[index] = row
    return Answers(
        files, np.array([number.get(name, NO_CLASS) for name in names], dtype=np.int64), probabilities
    )


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
