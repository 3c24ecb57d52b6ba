"""`python -m serving`, but a blue picture is never answered: a real thread that holds a slot for ever."""

import sys
import time
from typing import Any

from serving.__main__ import main
from serving.model.decoder import Pixels
from serving.server.gunicorn_app import Server

load = Server.load


def load_with_a_trap(server: Server) -> Any:  # noqa: ANN401  (a WSGI application)
    """What the worker calls. Only there the predictor is imported."""
    from serving.model.predictor import Predictor, Probabilities

    predict = Predictor.predict

    def hang(self: Predictor, images: Pixels) -> Probabilities:
        # The golden blue has no red, which the worker must answer to start; this one has a little.
        while images[0, 0, 0].tolist() == [1, 0, 255]:
            time.sleep(3600)
        return predict(self, images)

    Predictor.predict = hang  # type: ignore[method-assign]
    return load(server)


if __name__ == "__main__":
    Server.load = lambda self: load_with_a_trap(self)  # type: ignore[method-assign]
    sys.exit(main([]))
