"""How many worker processes there are, and what share of the server's capacity each of them has."""

import math

from serving.workers.worker_table import WorkerTable

# Seconds of Python for one request, in which no other thread of its process can run Python. One worker
# answers 600 to 1,000 requests a second with a tiny model (benchmarks/live.json).
PYTHON_SECONDS = 0.001
# Part of a container's memory that all workers together may take when their number is chosen here.
MEMORY_SHARE = 0.5


def choose_workers(cores: int, image_seconds: float, worker_bytes: int, memory_bytes: float) -> int:
    """The number of workers that keeps all cores busy.

    While a request is in Python, other threads of its process wait; while its image is decoded and classified
    they do not. So one process keeps (p + m) / p cores busy, if a request takes p seconds of Python and m for
    its image. `worker_bytes` is what one worker takes, of `memory_bytes` that there are.
    """
    needed = math.ceil(cores * PYTHON_SECONDS / (PYTHON_SECONDS + image_seconds))
    affordable = int(MEMORY_SHARE * memory_bytes // worker_bytes) if math.isfinite(memory_bytes) else cores
    return max(1, min(needed, cores, affordable))


class WorkerPlan:
    """`total` slots are divided among the workers; `workers` is their number, 0 if it is to be chosen."""

    def __init__(self, total: int, workers: int, table: WorkerTable) -> None:
        self.total, self.table = total, table
        table.wanted = min(workers, total)

    def share(self, worker: int) -> int:
        """The slots of one worker."""
        each, left = divmod(self.total, max(1, self.table.wanted))
        return max(1, each + (worker < left))
