"""`python -m serving`, but the prediction for one colour never ends: a real thread holds a slot for ever."""

import sys
import time
from typing import Any

from serving.__main__ import main
from serving.model.decoder import Pixels
from serving.server.gunicorn_app import GunicornApp

load = GunicornApp.load


def load_hanging(app: GunicornApp) -> Any:  # noqa: ANN401  (a WSGI application)
    """Replaces `GunicornApp.load`, which runs in the worker. Only the worker imports the predictor."""
    from serving.model.predictor import Outputs, Predictor

    predict = Predictor.predict_outputs

    def hang(self: Predictor, images: Pixels) -> Outputs:
        # The golden blue image, which the worker predicts at its start, has no red; this one has a little.
        while images[0, 0, 0].tolist() == [1, 0, 255]:
            time.sleep(3600)
        return predict(self, images)

    Predictor.predict_outputs = hang  # type: ignore[method-assign]
    return load(app)


if __name__ == "__main__":
    GunicornApp.load = lambda self: load_hanging(self)  # type: ignore[method-assign]
    sys.exit(main([]))
