"""The master process: it keeps one worker, and does what signals ask of it.

Gunicorn's own master adds and removes workers, runs a second master and reads its configuration again when it
is told to by signals. Here one process serves one pinned version, so such signals are logged and ignored.
`docs/serving.md` has a table of all of them.
"""

import os
import signal
import sys
from functools import partialmethod
from typing import Any

from gunicorn.arbiter import Arbiter

from serving.log import LOG

IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)


class Master(Arbiter):  # type: ignore[misc]
    """`app` is the `Server`; what it shares with its worker is in `app.drain` and `app.restarts`."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGALRM, self._stop)
        signal.signal(signal.SIGTERM, self._drain)
        for number in IGNORED:
            signal.signal(number, self._ignore)

    def spawn_worker(self) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Counts, for the metrics of the worker that is started."""
        self.app.restarts.started()
        return super().spawn_worker()

    def handle_hup(self) -> None:
        """Replaces the worker. Nothing is read again: the next one serves the same bytes."""
        self.kill_workers(signal.SIGTERM)

    def _log_ignored(self, name: str) -> None:
        # Only the first of its kind comes here.
        fields = {"signal": name, "code": "signal_ignored"}
        LOG.warning("this signal does nothing here, and is ignored from now on", extra={"fields": fields})

    handle_usr1 = partialmethod(_log_ignored, "SIGUSR1")
    handle_usr2 = partialmethod(_log_ignored, "SIGUSR2")
    handle_ttin = partialmethod(_log_ignored, "SIGTTIN")
    handle_ttou = partialmethod(_log_ignored, "SIGTTOU")
    handle_winch = partialmethod(_log_ignored, "SIGWINCH")

    def _ignore(self, number: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        # By the system from now on. SIGTTOU comes whenever something is written to a terminal that others
        # use, so the line that tells of it would cause the next one.
        signal.signal(number, signal.SIG_IGN)
        self.signal(number, frame)

    def _drain(self, *_: object) -> None:
        """On SIGTERM: readiness goes false, and only after the drain window Gunicorn hears of it."""
        if os.getpid() != self.pid:
            # A worker that has no handlers of its own yet, and no requests.
            sys.exit(0)
        drain, seconds = self.app.drain, self.app.settings.drain
        # A second SIGTERM skips the drain window.
        if drain.begun or not seconds:
            self._stop()
        else:
            drain.begin(seconds)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _stop(self, *_: object) -> None:
        self.app.drain.begin(0)
        self.signal(signal.SIGTERM, None)
