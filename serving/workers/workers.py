"""The workers as one of them sees them."""

import os
from dataclasses import dataclass

from serving.workers.shared_folder import SharedFolder
from serving.workers.worker_table import WorkerLoad, WorkerTable


@dataclass(frozen=True)
class Workers:
    """What this worker shares with the others. Its own number is `folder.worker`."""

    folder: SharedFolder
    table: WorkerTable

    def others(self) -> list[WorkerLoad]:
        """What the other workers are doing."""
        return self.table.others(self.folder.worker)

    def longest_held_elsewhere(self) -> float:
        """Seconds that the longest held slot of another worker has been held."""
        return max((load.held_ms / 1000 for load in self.others()), default=0.0)


def single_worker() -> Workers:
    """Those of a process that is the only worker, as in tests."""
    table = WorkerTable()
    table.enter(0, os.getpid())
    return Workers(SharedFolder.create(), table)
