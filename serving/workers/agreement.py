"""How the workers agree on a version: all of them swap at the same moment, or none does."""

import time
from collections.abc import Callable, Collection

import msgspec

from serving.workers.shared_folder import SharedFolder

# How long a worker waits for the others, in seconds; one that hangs must not hold up the rest for ever.
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.01


class Refusal(msgspec.Struct, frozen=True):
    """Why a digest is not served; `code` is that of the error."""

    code: str
    reason: str


class Agreement:
    """Refused digests and loaded digests, in files of the shared folder.

    `live_workers` returns the numbers of the workers that run.
    """

    def __init__(self, folder: SharedFolder, live_workers: Callable[[], Collection[int]]) -> None:
        self._folder, self._live_workers = folder, live_workers
        # Of a worker that had the same number before.
        for path in folder.path.glob(f"loaded-*.{folder.worker}"):
            path.unlink(missing_ok=True)

    def refuse(self, digest: str, refusal: Refusal) -> None:
        """Has all workers refuse a digest."""
        self._folder.write(f"refused-{digest}", msgspec.json.encode(refusal))

    def refusal(self, digest: str) -> Refusal | None:
        """Why a digest is refused; None if it is not."""
        data = self._folder.read(f"refused-{digest}")
        return None if data is None else msgspec.json.decode(data, type=Refusal)

    def forget_refusals(self) -> None:
        """Allows all refused digests to be tried again."""
        for path in self._folder.path.glob("refused-*"):
            path.unlink(missing_ok=True)

    def await_others(self, digest: str) -> Refusal | None:
        """Called with a version loaded: waits until every worker has it. Returns why one has refused it."""
        own = self._folder.worker
        self._folder.write(f"loaded-{digest}.{own}", b"")
        end = time.monotonic() + PATIENCE_SECONDS
        while (refusal := self.refusal(digest)) is None and time.monotonic() < end:
            if all((self._folder / f"loaded-{digest}.{other}").exists() for other in self._live_workers()):
                return None
            time.sleep(POLL_SECONDS)
        return refusal

    def unload(self, digest: str) -> None:
        """Called when this worker has dropped a version again."""
        (self._folder / f"loaded-{digest}.{self._folder.worker}").unlink(missing_ok=True)
