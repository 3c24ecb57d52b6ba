"""This server with other threads in each prediction: `python -m benchmarks.serving.launcher THREADS`.

It has no setting for them: one is what makes answers independent of the number of cores. All else is as
`python -m serving` has it.
"""

import sys
from functools import partial
from typing import Any

from serving.__main__ import main
from serving.server.gunicorn_app import Server

load = Server.load


def load_with(threads: int, server: Server) -> Any:  # noqa: ANN401  (a WSGI application)
    """What the worker calls. Not before: the master, which has no model, stays as small as it is."""
    from serving.model.predictor import Predictor

    opened = partial(Predictor.from_bundle, threads=threads)
    Predictor.from_bundle = opened  # type: ignore[method-assign]
    return load(server)


if __name__ == "__main__":
    Server.load = lambda self: load_with(int(sys.argv[1]), self)  # type: ignore[method-assign]
    sys.exit(main([]))
