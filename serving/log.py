"""The log: one JSON object per line on standard output, for the server's own messages and for requests.

No line holds a byte of an image, a name of a file or an address of a client. Whoever does not read the log
does not hold up the server (serving/nonblocking_output.py).
"""

import logging
import logging.config
import sys
import time
from functools import cache
from typing import Any

import msgspec
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from serving.nonblocking_output import Output

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


class Lines(logging.Handler):
    """Writes lines to standard output, as far as they are taken."""

    def emit(self, record: logging.LogRecord) -> None:
        """What cannot be formatted is a fault of the server, and says so in its place."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (whatever a message is made of)
            line = dropped_line(1)
        output().write(line.encode() + b"\n")

    def flush(self) -> None:
        """At the end of the process."""
        output().flush()


@cache
def output() -> Output:
    """Standard output, of this process and of those that it forks."""
    return Output(
        sys.stdout.fileno() if sys.stdout else None, lambda lines: dropped_line(lines).encode() + b"\n"
    )


def dropped_line(lines: int) -> str:
    """What stands in the place of lines that could not be written."""
    noun = "line was" if lines == 1 else "lines were"
    told = {"levelname": "WARNING", "msg": f"{lines} {noun} dropped", "fields": {"code": "log_dropped"}}
    return JsonLines().format(logging.makeLogRecord(told))


def configuration() -> dict[str, Any]:
    """What `logging.config.dictConfig` takes."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines}},
        "handlers": {"lines": {"()": Lines, "formatter": "lines"}},
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
        # They would go to standard error, which may be the same pipe.
        logging.captureWarnings(True)
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
