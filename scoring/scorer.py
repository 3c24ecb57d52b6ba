"""Scores images: reads, decodes and classifies them as the server does, one after the other."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from scoring.errors import FileError, PredictionFailed
from scoring.plan import Chunk, Options
from scoring.rows import Row, printable
from scoring.storage import is_remote, join, read_image
from serving.artifact.bundle import Bundle
from serving.errors import ImageError
from serving.explanation.explainer import Explainer
from serving.model.decoder import MAX_BYTES, decode
from serving.model.predictor import Predictor
from serving.reliability import Reliability

# Remote files that are read at the same time. Each waits for the network most of the time.
READERS = 8
TOP = 5


class Scorer:
    """A loaded model, which has given its golden predictions. Raises a `BundleError` otherwise."""

    def __init__(self, bundle: Bundle, root: str, options: Options) -> None:
        self._root, self._options, self._digest = root, options, bundle.digest
        self._predictor = Predictor.from_bundle(bundle)
        self._predictor.check_golden()
        self._reliability = Reliability.of_bundle(bundle)
        self._explainer = Explainer(self._predictor) if options.explain else None

    def score(self, chunk: Chunk) -> list[Row]:
        """A row for each image of the chunk, in order."""
        rows = zip(chunk.entries, self._read_all(chunk.entries), strict=True)
        return [self._score(printable(entry), data) for entry, data in rows]

    def _read_all(self, entries: list[str]) -> Iterator[bytes | FileError | ImageError | MemoryError]:
        paths = [join(self._root, entry) for entry in entries]
        if not any(map(is_remote, paths)):
            yield from map(_read, paths)
            return
        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, len(paths), READERS):
                yield from pool.map(_read, paths[start : start + READERS])

    def _score(self, path: str, data: bytes | FileError | ImageError | MemoryError) -> Row:
        if not isinstance(data, bytes):
            return _refused(path, self._digest, None, data)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            return Row(path, self._digest, sha256, **self._classify(data))
        except (FileError, ImageError, MemoryError) as error:
            return _refused(path, self._digest, sha256, error)

    def _classify(self, data: bytes) -> dict[str, Any]:
        pixels = decode(data, self._predictor.preprocessing)
        try:
            prediction = self._predictor.predict_one(pixels)
            if not np.isfinite(prediction.probabilities).all():
                raise ValueError("a probability is not finite")
            best = self._predictor.top(prediction.probabilities, TOP)
            judged = self._reliability.judge([prediction], self._options.level)
            explanation = None
            if self._explainer:
                number = int(prediction.probabilities.argmax())
                found = self._explainer.explain(pixels, number, best[0].score)
                explanation = {"method": found.method, "values": found.values.tolist()}
        except MemoryError:
            raise
        # A model may fail in many ways for some images.
        except Exception as error:  # noqa: BLE001
            raise PredictionFailed(str(error) or type(error).__name__) from None
        return {
            "label": best[0].label,
            "score": best[0].score,
            "top5": [{"label": each.label, "id": each.id, "score": each.score} for each in best],
            "label_set": judged.label_sets and judged.label_sets[0],
            "familiar": judged.familiar and judged.familiar[0],
            "explanation": explanation,
        }


def refused_rows(entries: Iterable[str], digest: str, error: FileError) -> list[Row]:
    """Rows for images that no worker has survived."""
    return [_refused(printable(entry), digest, None, error) for entry in entries]


def _read(path: str) -> bytes | FileError | ImageError | MemoryError:
    try:
        return read_image(path, MAX_BYTES)
    except (FileError, ImageError, MemoryError) as error:
        return error


def _refused(path: str, digest: str, sha256: str | None, error: FileError | ImageError | MemoryError) -> Row:
    if isinstance(error, MemoryError):
        error = PredictionFailed("there is not enough memory")
    return Row(path, digest, sha256, error_code=error.code, error=str(error))
