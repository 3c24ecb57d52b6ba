"""The log: one JSON object per line on standard output, for the server's own messages and for requests.

No line holds a byte of an image, a name of a file or an address of a client.
"""

import logging
import logging.config
import sys
import time
from typing import Any

import msgspec
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

LOG = logging.getLogger("goldfish")


class JsonLines(logging.Formatter):
    """What `extra={"fields": {...}}` holds becomes members of the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time (UTC), level, message and fields."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configuration() -> dict[str, Any]:
    """What `logging.config.dictConfig` takes."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "lines"}},
        "loggers": {
            # Its information is about processes; what a user wants to know the application says.
            "gunicorn.error": {"level": "WARNING", "handlers": ["lines"], "propagate": False},
            "goldfish": {"level": "INFO", "handlers": ["lines"], "propagate": False},
        },
        "root": {"level": "WARNING", "handlers": ["lines"]},
    }


class GunicornLog(Logger):  # type: ignore[misc]
    """Gunicorn's own messages, as lines like all others."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401  (Gunicorn's configuration)
        super().setup(cfg)
        logging.config.dictConfig(configuration())
        # What no line shows need not be found out for each of them: thread, process, task, and who called.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging.logAsyncioTasks, logging._srcfile = False, None  # type: ignore[attr-defined]
        self._told = False

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:  # noqa: ANN401
        """Nothing: the application writes the line of a request, with what Gunicorn cannot know."""

    def error(self, msg: str, *args: object, **kwargs: Any) -> None:  # noqa: ANN401
        """Falls silent after a worker that could not load the model: it has said why in one sentence."""
        self._told = self._told or Arbiter.APP_LOAD_ERROR in args
        if not self._told:
            super().error(msg, *args, **kwargs)
