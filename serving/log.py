"""The log: one JSON object per line on standard output, for the server's own messages and for requests.

No line contains image data, a file name or a client's address. A reader of standard output that is slow or
stuck does not block the server (serving/nonblocking_output.py).
"""

import logging
import logging.config
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from serving.nonblocking_output import NonblockingOutput

LOG = logging.getLogger("goldfish")


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON. `extra={"fields": {...}}` adds members to the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time (UTC), level, message and fields."""
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "trace": self.formatException(record.exc_info)}
        return _encode_line(record.created, record.levelname.lower(), record.getMessage(), fields).decode()


def _encode_line(created: float, level: str, message: str, fields: Mapping[str, object]) -> bytes:
    """A line without its end; `created` is in seconds since 1970."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    begin = {"time": f"{moment}.{int(created % 1 * 1000):03d}Z", "level": level, "message": message}
    return msgspec.json.encode({**begin, **fields})


def log_request(fields: Mapping[str, object]) -> None:
    """Writes the line of a request, at level INFO.

    The logging module would take more time than formatting and writing the line.
    """
    standard_output().write(_encode_line(time.time(), "info", "request", fields) + b"\n")


class NonblockingHandler(logging.Handler):
    """Writes lines to standard output without blocking."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line. If a record cannot be formatted, a line about that takes its place."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (arguments of a message may be of any type)
            line = format_dropped(1)
        standard_output().write(line.encode() + b"\n")

    def flush(self) -> None:
        """Writes queued lines; called at the end of the process."""
        standard_output().flush()


@cache
def standard_output() -> NonblockingOutput:
    """The standard output of this process and of those that it forks."""
    descriptor = sys.stdout.fileno() if sys.stdout else None
    return NonblockingOutput(descriptor, lambda lines: format_dropped(lines).encode() + b"\n")


def format_dropped(lines: int) -> str:
    """The line that reports how many lines were not written."""
    noun = "line was" if lines == 1 else "lines were"
    record = {"levelname": "WARNING", "msg": f"{lines} {noun} dropped", "fields": {"code": "log_dropped"}}
    return JsonFormatter().format(logging.makeLogRecord(record))


def logging_config() -> dict[str, Any]:
    """The argument of `logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stdout": {"()": NonblockingHandler, "formatter": "json"}},
        "loggers": {
            # Gunicorn's messages at level INFO are about processes; the application logs what users need.
            "gunicorn.error": {"level": "WARNING", "handlers": ["stdout"], "propagate": False},
            "goldfish": {"level": "INFO", "handlers": ["stdout"], "propagate": False},
        },
        "root": {"level": "WARNING", "handlers": ["stdout"]},
    }


class GunicornLog(Logger):  # type: ignore[misc]
    """Gunicorn's messages in the same format. Overrides `setup`, `access` and `error` of its `Logger`."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401  (Gunicorn's configuration)
        super().setup(cfg)
        logging.config.dictConfig(logging_config())
        # Warnings would go to standard error, which may be the same pipe.
        logging.captureWarnings(True)
        # No line shows the thread, process, task or caller, so they need not be looked up for each record.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging.logAsyncioTasks, logging._srcfile = False, None  # type: ignore[attr-defined]
        self._load_failed = False

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:  # noqa: ANN401
        """Does nothing: the application logs requests, with details that Gunicorn does not have."""

    def error(self, msg: str, *args: object, **kwargs: Any) -> None:  # noqa: ANN401
        """Logs nothing after a worker failed to load the model: it has printed the reason itself."""
        self._load_failed = self._load_failed or Arbiter.APP_LOAD_ERROR in args
        if not self._load_failed:
            super().error(msg, *args, **kwargs)
