"""`python -m serving`, but every prediction waits while the file GATE exists in the working directory."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from serving.__main__ import main
from serving.model.decoder import Pixels
from serving.server.gunicorn_app import GunicornApp
from tests.serving.bundles import one_colour_png
from tests.serving.servers import TIMEOUT, Server, await_true

GATE = "gate"
load = GunicornApp.load


def load_blocking(app: GunicornApp) -> Any:  # noqa: ANN401  (a WSGI application)
    """Replaces `GunicornApp.load`, which runs in the worker. Only the worker imports the predictor."""
    from serving.model.predictor import Outputs, Predictor

    predict = Predictor.predict_outputs

    def blocking(self: Predictor, images: Pixels) -> Outputs:
        while Path(GATE).exists():
            time.sleep(0.01)
        return predict(self, images)

    Predictor.predict_outputs = blocking  # type: ignore[method-assign]
    return load(app)


@contextmanager
def occupied(server: Server) -> Iterator[None]:
    """Keeps a slot of such a server busy until the block ends."""
    gate, url = server.folder / GATE, f"{server.url}/predict"
    gate.touch()
    options = {"data": one_colour_png((1, 2, 3)), "timeout": TIMEOUT}
    request = threading.Thread(target=requests.post, args=(url,), kwargs=options)
    request.start()
    try:
        await_true(lambda: "goldfish_slots_busy 1.0" in server.get("/metrics").text)
        yield
    finally:
        gate.unlink()
        request.join()


if __name__ == "__main__":
    GunicornApp.load = lambda self: load_blocking(self)  # type: ignore[method-assign]
    sys.exit(main([]))
