"""Latency that each protocol adds to `/predict`: `python -m benchmarks.protocols [BUNDLE PIN]`.

One client sends one image on a persistent connection, with each protocol in turn, so that load from other
programs falls on all of them. Writes `benchmarks/protocols.json` and a table in `docs/protocols.md`.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.documents import PROTOCOLS, markdown_table, replace_section, write_json
from tests.serving.api.protocols.calls import CALLS, MODEL
from tests.serving.api.protocols.conftest import VERTEX
from tests.serving.images import encode_image
from tests.serving.servers import Server, publish, running
from tests.serving.wire import post, read

RESULTS = Path(__file__).with_name("protocols.json")
DOCUMENT = PROTOCOLS
ROUNDS, WARM_UP = 400, 50
# Pixels; about the size of a thumbnail on a web page.
SIDE, QUALITY = 224, 85
# The simplest request of each protocol, and its name in the table.
REQUESTS = {
    "native": "`/predict`",
    "open inference": "Open Inference Protocol, JSON",
    "open inference, binary": "Open Inference Protocol, binary",
    "open inference, raw": "Open Inference Protocol, raw",
    "tensorflow serving, rows": "TensorFlow Serving, `:predict`",
    "tensorflow serving, classify": "TensorFlow Serving, `:classify`",
    "mlflow, split": "MLflow",
    "sagemaker": "SageMaker",
    "hugging face": "Hugging Face",
    "vertex ai": "Vertex AI",
}


def photo() -> bytes:
    """A JPEG of random colours, which does not compress to almost nothing."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (SIDE // 2, SIDE // 2, 3), dtype=np.uint8))
    return encode_image(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), "JPEG", quality=QUALITY)


def measure(server: Server, model: str) -> dict[str, Any]:
    """Median latency of each protocol, ms."""
    image, latencies = photo(), {name: list[float]() for name in REQUESTS}
    requests = {}
    for name in REQUESTS:
        call = CALLS[name]
        path = call.path.replace(f"/{MODEL}", f"/{model}").replace("/versions/3", "")
        requests[name] = post(path, call.body(image), *call.lines)
    with server.connect() as connection:
        for number in range(WARM_UP + ROUNDS):
            for name, request in requests.items():
                began = time.perf_counter()
                connection.sendall(request)
                response = read(connection)
                if number >= WARM_UP:
                    latencies[name].append(1000 * (time.perf_counter() - began))
                if response.status != 200:
                    raise AssertionError(f"{name}: {response.status} {response.body!r}")
    return {name: round(statistics.median(found), 3) for name, found in latencies.items()}


def main(arguments: list[str]) -> None:
    """Measures the bundle of the tests, and the given one."""
    results: dict[str, Any] = {"rounds": ROUNDS, "bytes": len(photo()), "medians_ms": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running(publish(folder), **VERTEX))
        results["medians_ms"]["the tests' model"] = measure(server, MODEL)
    if arguments:
        bundle, pin = (Path(argument).resolve() for argument in arguments)
        settings = {"model": pin.stem, "bundle": bundle, "pins": pin.parent}
        with tempfile.TemporaryDirectory() as name, running(Path(name), **settings, **VERTEX) as server:
            results["medians_ms"][f"`{pin.stem}`"] = measure(server, pin.stem)
    write_json(RESULTS, results)
    replace_section(DOCUMENT, "protocols", table(results))


def table(results: dict[str, Any]) -> str:
    """The section of docs/protocols.md."""
    models = results["medians_ms"]
    rows = [
        (title, *(f"{found[name]:.2f} ms, {found[name] - found['native']:+.2f}" for found in models.values()))
        for name, title in REQUESTS.items()
    ]
    columns = ["request", *(f"{model}: median, added" for model in models)]
    conditions = f"Medians of {results['rounds']} rounds with a JPEG of {round(results['bytes'] / 1000)} kB."
    return f"{markdown_table(columns, rows)}\n{conditions}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
