"""What each protocol adds to `/predict`: `python -m benchmarks.protocols [BUNDLE PIN]`.

One client with one kept connection asks about one image, each protocol in turn, round after round, so that
whatever else the machine does falls on all alike. It writes `benchmarks/protocols.json` and a table.
"""

import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.documents import ROOT, show
from tests.serving.api.protocols.asked import CALLS, MODEL
from tests.serving.api.protocols.conftest import VERTEX
from tests.serving.images import encode_image
from tests.serving.servers import Server, publish, running
from tests.serving.wire import post, read

RESULTS = Path(__file__).with_name("protocols.json")
DOCUMENT = ROOT / "docs/protocols.md"
ROUNDS, WARM_UP = 400, 50
# About as large as a photo that was made small for the web.
SIDE, QUALITY = 224, 85
# The simplest request of each, and what the table calls it.
ASKED = {
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
    """A JPEG with something in every corner."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (SIDE // 2, SIDE // 2, 3), dtype=np.uint8))
    return encode_image(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), "JPEG", quality=QUALITY)


def measure(server: Server, model: str) -> dict[str, Any]:
    """The median of each protocol in milliseconds."""
    image, times = photo(), {name: list[float]() for name in ASKED}
    requests = {}
    for name in ASKED:
        call = CALLS[name]
        path = call.path.replace(f"/{MODEL}", f"/{model}").replace("/versions/3", "")
        requests[name] = post(path, call.body(image), *call.lines)
    with server.connect() as connection:
        for number in range(WARM_UP + ROUNDS):
            for name, request in requests.items():
                began = time.perf_counter()
                connection.sendall(request)
                answer = read(connection)
                if number >= WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - began))
                if answer.status != 200:
                    raise AssertionError(f"{name}: {answer.status} {answer.body!r}")
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def main(arguments: list[str]) -> None:
    """Measures the tests' own bundle, and another one if it is given, with its pin."""
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
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "protocols", table(results))
    print(table(results))


def table(results: dict[str, Any]) -> str:
    """The results as the document shows them."""
    models = results["medians_ms"]
    lines = [
        "| request | " + " | ".join(f"{model}: median, added" for model in models) + " |",
        "| --- |" + " --- |" * len(models),
    ]
    for name, shown in ASKED.items():
        cells = (f"{found[name]:.2f} ms, {found[name] - found['native']:+.2f}" for found in models.values())
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    told = f"Medians of {results['rounds']} rounds with a JPEG of {round(results['bytes'] / 1000)} kB."
    return "\n".join([*lines, "", told]) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
