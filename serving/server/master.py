"""The master process: keeps the worker processes running and handles signals.

By default Gunicorn's master adds and removes workers, starts a second master or reads its configuration again
on certain signals. Here these signals are logged and ignored. `docs/serving.md` has a table of all signals.

Overridden methods of `Arbiter`: `init_signals`, `spawn_worker`, `manage_workers`, `handle_hup` and the
handlers of the ignored signals. Used: `signal` (queues a signal for the main loop), `pid`, `app`.
"""

import os
import signal
import sys
from functools import partialmethod
from typing import Any

from gunicorn.arbiter import Arbiter

from serving.log import LOG

IGNORED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)


class Master(Arbiter):  # type: ignore[misc]
    """`app` is the `GunicornApp`; it shares `app.drain` and `app.restarts` with the worker process."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGALRM, self._stop)
        signal.signal(signal.SIGTERM, self._drain_then_stop)
        for number in IGNORED_SIGNALS:
            signal.signal(number, self._ignore)

    def spawn_worker(self) -> Any:  # noqa: ANN401  (Gunicorn's own)
        """Counts replacements, for the metrics, and gives the worker the lowest number that is free."""
        if self.app.ended:
            self.app.ended -= 1
            self.app.restarts.count_replacement()
        self.app.folder.worker = worker = self.app.table.free_number()
        pid = super().spawn_worker()
        self.app.table.enter(worker, pid)
        return pid

    def handle_hup(self) -> None:
        """Has the workers look after changed pins at once, and try versions that were refused again."""
        self.app.restarts.count_reload()

    def manage_workers(self) -> None:
        """Called every second. The first worker may have found that there should be more of them."""
        self.num_workers = max(1, self.app.table.wanted)
        super().manage_workers()
        self.app.refresh_releases()

    def _log_ignored(self, name: str) -> None:
        # Only called for the first signal of its kind.
        fields = {"signal": name, "code": "signal_ignored"}
        LOG.warning("this signal does nothing here, and is ignored from now on", extra={"fields": fields})

    handle_usr1 = partialmethod(_log_ignored, "SIGUSR1")
    handle_usr2 = partialmethod(_log_ignored, "SIGUSR2")
    handle_ttin = partialmethod(_log_ignored, "SIGTTIN")
    handle_ttou = partialmethod(_log_ignored, "SIGTTOU")
    handle_winch = partialmethod(_log_ignored, "SIGWINCH")

    def _ignore(self, number: int, frame: Any) -> None:  # noqa: ANN401  (a signal handler)
        # The system ignores it from now on. SIGTTOU is sent on every write to a terminal that another process
        # group uses, so the log line about it would cause the next one.
        signal.signal(number, signal.SIG_IGN)
        self.signal(number, frame)

    def _drain_then_stop(self, *_: object) -> None:
        """SIGTERM: /readyz fails at once, and Gunicorn stops after the drain window."""
        if os.getpid() != self.pid:
            # A worker that has not set its own handlers yet, and has no requests.
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
