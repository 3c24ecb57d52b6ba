"""Pulls versions in processes of their own: `python -m serving.updates.pulling NAME VERSION DIGEST ...`.

So a large download neither slows down the requests of the server nor counts against its memory, another
version can be followed meanwhile, and if a process is killed the server lives on. Further arguments are
digests to keep on disk. A process writes its error to standard output, as JSON.
"""

import resource
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec

from serving.artifact.pin import Pin
from serving.artifact.release import pull_pinned
from serving.config import Settings
from serving.errors import ServingError
from serving.updates.errors import PULL_FAILED, PullFailed

# Characters of a digest in the name of its folder.
NAME_LENGTH = 12
# Pulled versions of a model that are kept on disk, besides those in use.
KEPT = 3


class _Failure(msgspec.Struct):
    """What the process reports."""

    code: str
    message: str


class Pulls:
    """The processes of one model, by digest."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, pin: Pin, kept: Collection[str]) -> None:
        """Begins to pull a version, unless it is being pulled. Raises `PullFailed` if that has failed.

        Of the versions that were pulled before, those in use (`kept`) and the last ones stay on disk.
        """
        process = self._processes.get(pin.digest)
        if process is None:
            command = [sys.executable, "-m", __name__, pin.name, str(pin.version), pin.digest, *kept]
            self._processes[pin.digest] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        elif process.poll() is not None:
            del self._processes[pin.digest]
            output, errors = process.communicate()
            if process.returncode:
                raise _failure(process.returncode, output, errors)

    def keep(self, digests: Collection[str]) -> None:
        """Ends the processes of all other versions."""
        for digest in self._processes.keys() - set(digests):
            process = self._processes.pop(digest)
            process.kill()
            process.communicate()


def _failure(status: int, output: bytes, errors: bytes) -> PullFailed:
    try:
        failure = msgspec.json.decode(output, type=_Failure)
    except msgspec.DecodeError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
        return PullFailed(PULL_FAILED, f"the process that pulls it ended with {status}: {last}")
    return PullFailed(failure.code, failure.message)


def _remove_old(folder: Path, kept: Collection[str]) -> None:
    """Removes all but the last versions that were pulled, and those in use."""
    names = {digest[:NAME_LENGTH] for digest in kept}
    pulled = sorted(folder.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
    for path in pulled[:-KEPT]:
        if path.name not in names:
            shutil.rmtree(path, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    name, version, digest, *kept = arguments
    # The limit of the worker is for its requests.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    try:
        settings = Settings.read()
        folder = pull_pinned(settings, Pin(name, int(version), digest))
        pinned = Pin.read(settings.pins / f"{name}.json")
        _remove_old(folder.parent, [digest, pinned.digest, *kept])
    except (ServingError, OSError) as error:
        code = error.code if isinstance(error, ServingError) else PULL_FAILED
        sys.stdout.buffer.write(msgspec.json.encode(_Failure(code, str(error))))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
