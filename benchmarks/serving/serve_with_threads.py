"""Starts this server with `THREADS` threads in each prediction.

`python -m benchmarks.serving.serve_with_threads THREADS`.

The server has no setting for it: with one thread its predictions do not depend on the number of cores.
"""

import sys
from functools import partial
from typing import Any

from serving.__main__ import main
from serving.server.gunicorn_app import GunicornApp

load = GunicornApp.load


def load_with_threads(threads: int, server: GunicornApp) -> Any:  # noqa: ANN401  (a WSGI application)
    """Replaces `GunicornApp.load`, which runs in the worker process."""
    # Imported in the worker only, so that the master process stays as small as without this module.
    from serving.model.predictor import Predictor

    Predictor.from_bundle = partial(Predictor.from_bundle, threads=threads)  # type: ignore[method-assign]
    return load(server)


if __name__ == "__main__":
    GunicornApp.load = lambda self: load_with_threads(int(sys.argv[1]), self)  # type: ignore[method-assign]
    sys.exit(main([]))
