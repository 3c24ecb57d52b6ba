"""The thread that looks after changed pins."""

import threading
from collections.abc import Callable, Sequence

from serving.updates.model_update import ModelUpdate
from serving.workers.agreement import Agreement

# Seconds between two looks at the pins, which are small files.
LOOK_SECONDS = 1.0


class UpdateThread(threading.Thread):
    """`reloads` returns how often the operator has asked, with SIGHUP, to look again at once."""

    def __init__(
        self, updates: Sequence[ModelUpdate], agreement: Agreement, reloads: Callable[[], int]
    ) -> None:
        super().__init__(name="updates", daemon=True)
        self._updates, self._agreement, self._reloads = updates, agreement, reloads
        self._seen = reloads()
        self._stop_requested = threading.Event()

    def run(self) -> None:
        """Looks until `stop` is called."""
        while not self._stop_requested.wait(LOOK_SECONDS):
            asked = self._reloads() != self._seen
            if asked:
                self._seen = self._reloads()
                self._agreement.forget_refusals()
            for update in self._updates:
                update.look(at_once=asked)

    def stop(self) -> None:
        """Ends the thread once its present look is over."""
        self._stop_requested.set()
