"""A process that sends requests against a limit that it shares with others.

`python -m tests.serving.api.counting_process FOLDER AMOUNT REQUESTS` waits for a line, and prints how many
requests of its threads were allowed. With 0 requests it stops in the middle of one, and says so.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving.api.rate_limit import ClientWindows, RateLimiter
from serving.rates import Rate
from serving.workers.shared_folder import SharedFolder

CLIENT, NAME, SECONDS, THREADS = "192.0.2.1", "shared", 86_400, 2


def stop() -> float:
    """A clock that is read while the lock is held, and never returns."""
    print("in the middle", flush=True)
    time.sleep(3600)
    return 0.0


def main(folder: str, amount: int, requests: int) -> None:
    """Runs the process."""
    shared = SharedFolder(Path(folder), -1)
    print("ready", flush=True)
    sys.stdin.readline()
    limits = [ClientWindows(Rate(amount, SECONDS), shared, NAME)]
    limiter = RateLimiter(shared) if requests else RateLimiter(shared, stop)
    with ThreadPoolExecutor(THREADS) as threads:
        waits = threads.map(lambda _: limiter.hit(limits, CLIENT), range(requests or 1))
        print(sum(not wait for wait in waits), flush=True)
    # Without the end of the object, which would remove the folder.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
