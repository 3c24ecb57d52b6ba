"""Pulls a version in a process of its own: `python -m serving.updates.pulling NAME VERSION DIGEST`.

So a large download neither slows down the requests of the server nor counts against its memory, and if it is
killed the server lives on. It writes its error to standard output, as JSON.
"""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from serving.artifact.pin import Pin
from serving.artifact.release import pull_pinned
from serving.config import Settings
from serving.errors import ServingError
from serving.updates.errors import PullFailed
from serving.workers.shared_folder import SharedFolder
from serving.workers.shared_lock import SharedLock

# Seconds after which a pull is given up. The download itself has a minimum rate.
TIMEOUT_SECONDS = 3600.0
# Pulled versions of a model that are kept on disk.
KEPT = 3


class _Failure(msgspec.Struct):
    """What the process reports."""

    code: str
    message: str


def pull(pin: Pin, folder: SharedFolder) -> None:
    """Pulls a version, one worker after the other: the second one finds it complete. Raises `PullFailed`."""
    command = [sys.executable, "-m", __name__, pin.name, str(pin.version), pin.digest]
    with SharedLock(folder / "pulling").hold():
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise PullFailed("pull_failed", f"pulling took more than {TIMEOUT_SECONDS:.0f} s") from None
    if done.returncode:
        try:
            failure = msgspec.json.decode(done.stdout, type=_Failure)
        except msgspec.DecodeError:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            reason = f"the process that pulls it ended with {done.returncode}: {last or 'it said nothing'}"
            raise PullFailed("pull_failed", reason) from None
        raise PullFailed(failure.code, failure.message)


def _remove_old(folder: Path) -> None:
    """Removes all but the last versions that were pulled. What is served is in memory."""
    pulled = sorted(folder.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
    for path in pulled[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    name, version, digest = arguments
    # The limit of the worker is for its requests.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    try:
        folder = pull_pinned(Settings.read(), Pin(name, int(version), digest))
        _remove_old(folder.parent)
    except (ServingError, OSError) as error:
        code = error.code if isinstance(error, ServingError) else "pull_failed"
        sys.stdout.buffer.write(msgspec.json.encode(_Failure(code, str(error))))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
