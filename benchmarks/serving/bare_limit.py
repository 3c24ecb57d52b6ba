"""The bare limit: `python -m benchmarks.serving.bare_limit BUNDLE SECONDS THREADS INNER PHOTO...`.

`THREADS` threads decode and predict in a loop without HTTP; each prediction may use `INNER` threads of ONNX
Runtime. Prints one JSON object: photos per second, and median and 99th percentile of the latency in ms.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from serving.model.predictor import Predictor

WARM_UP_SECONDS = 1.0


def run_loop(predictor: Predictor, photos: list[bytes], seconds: float, offset: int) -> list[float]:
    """Classifies photos in turn for some seconds; returns the latency of each, ms."""
    latencies: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        predictor.classify(photos[(offset + len(latencies)) % len(photos)])
        latencies.append(1000 * (time.monotonic() - began))
    return latencies


def measure(predictor: Predictor, photos: list[bytes], seconds: float, threads: int) -> dict[str, float]:
    """Runs one loop in each thread, each beginning at another photo."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.monotonic()
        loops = [pool.submit(run_loop, predictor, photos, seconds, offset) for offset in range(threads)]
        latencies = np.concatenate([loop.result() for loop in loops])
        elapsed = time.monotonic() - began
    return {
        "rate": len(latencies) / elapsed,
        "p50": float(np.percentile(latencies, 50)),
        "p99": float(np.percentile(latencies, 99)),
    }


def main(arguments: list[str]) -> None:
    """Warms up, measures and prints."""
    bundle, seconds, threads, inner, *files = arguments
    predictor = Predictor.open(Path(bundle), threads=int(inner))
    photos = [Path(file).read_bytes() for file in files]
    measure(predictor, photos, WARM_UP_SECONDS, int(threads))
    print(json.dumps(measure(predictor, photos, float(seconds), int(threads))))


if __name__ == "__main__":
    main(sys.argv[1:])
