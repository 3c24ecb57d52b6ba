"""The threads that look after changed targets, one for each model."""

import threading

from serving.updates.model_updates import ModelUpdates
from serving.updates.shared import Shared

# Seconds between two looks. A pin is a small file, and registries are asked less often.
LOOK_SECONDS = 0.25


class UpdateThread(threading.Thread):
    """Looks after one model."""

    def __init__(self, updates: ModelUpdates, shared: Shared) -> None:
        super().__init__(name=f"update-{updates.versions.name}", daemon=True)
        self._updates, self._shared, self._seen = updates, shared, shared.reloads()
        self._stop_requested = threading.Event()

    def run(self) -> None:
        """Looks until `stop` is called."""
        while not self._stop_requested.wait(LOOK_SECONDS):
            reloads = self._shared.reloads()
            if reloads != self._seen:
                self._shared.agreement.forget_refusals()
            self._updates.look(at_once=reloads != self._seen)
            self._seen = reloads

    def stop(self) -> None:
        """Ends the thread once its present look is over."""
        self._stop_requested.set()
