"""The bare limit: `python -m benchmarks.serving.limit BUNDLE SECONDS THREADS INNER PHOTO...`.

So many threads decode and predict in a loop, and each prediction may use `INNER` threads of ONNX Runtime.
Prints one JSON object: answers per second, and the median and 99th percentile of the milliseconds of one.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from serving.model.predictor import Predictor

# Seconds that only warm up.
WARM_UP = 1.0


def loop(predictor: Predictor, photos: list[bytes], seconds: float, offset: int) -> list[float]:
    """Answers photos in turn until the time is over; gives the milliseconds of each."""
    spent: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        predictor.classify(photos[(offset + len(spent)) % len(photos)])
        spent.append(1000 * (time.monotonic() - began))
    return spent


def measure(predictor: Predictor, photos: list[bytes], seconds: float, threads: int) -> dict[str, float]:
    """On so many threads at once, each of which begins at another photo."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.monotonic()
        loops = [pool.submit(loop, predictor, photos, seconds, offset) for offset in range(threads)]
        spent = np.concatenate([done.result() for done in loops])
        elapsed = time.monotonic() - began
    return {
        "rate": len(spent) / elapsed,
        "p50": float(np.percentile(spent, 50)),
        "p99": float(np.percentile(spent, 99)),
    }


def main(arguments: list[str]) -> None:
    """Warms up, measures and prints."""
    bundle, seconds, threads, inner, *files = arguments
    predictor = Predictor.open(Path(bundle), threads=int(inner))
    photos = [Path(file).read_bytes() for file in files]
    measure(predictor, photos, WARM_UP, int(threads))
    print(json.dumps(measure(predictor, photos, float(seconds), int(threads))))


if __name__ == "__main__":
    main(sys.argv[1:])
