"""Process trees of contenders: started, weighed and stopped as a whole. Linux only."""

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# prctl(2), PR_SET_CHILD_SUBREAPER.
SUBREAPER = 36
# The last line of a Python traceback, and the last line of a text.
ERROR = re.compile(r"^[\w.]*(Error|Exception)\b.*: .+$", re.MULTILINE)
LINE = re.compile(r"^.+\Z", re.MULTILINE)
# Seconds between SIGTERM and SIGKILL.
GRACE = 15.0


@dataclass(frozen=True)
class ProcessTree:
    """A started process and all of its descendants, daemons in other process groups included.

    A tree that is started later counts as part of this one until it is stopped; `others` are the processes
    that ran before this tree.
    """

    root: "subprocess.Popen[bytes]"
    log: Path
    others: frozenset[psutil.Process] = frozenset()

    @property
    def processes(self) -> list[psutil.Process]:
        """All that run now."""
        return [process for process in _descendants() if process not in self.others]

    def pss(self) -> float:
        """Proportional set size of all processes, MB: shared pages count once."""
        total = 0
        for process in self.processes:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_full_info().pss
        return total / 2**20

    def has_exited(self) -> bool:
        """Whether the root process has exited."""
        return self.root.poll() is not None

    def reason(self) -> str:
        """The first error in the log, which usually causes the later ones, or else the last line."""
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        found = ERROR.search(text) or LINE.search(text)
        return found[0].strip()[:300] if found else "it wrote nothing"


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process, so that they are found below and in
    `benchmarks.interference`.
    """
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


@contextmanager
def process_tree(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[ProcessTree]:
    """Starts a command, and stops it and all of its descendants when the block ends."""
    adopt_orphans()
    others = frozenset(_descendants())
    with log.open("wb") as out:
        root = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = ProcessTree(root, log, others)
    try:
        yield tree
    finally:
        _stop(tree)


def _stop(tree: ProcessTree) -> None:
    """Sends SIGTERM first, because some servers then remove shared memory and files; kills what is left."""
    if not tree.has_exited():
        tree.root.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            tree.root.wait(GRACE)
    # Again and again, because a killed process may leave orphans that were not listed before.
    deadline = time.monotonic() + GRACE
    while (left := tree.processes) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)
        for process in left:
            # Popen reaps the root process; the children of other processes cannot be reaped here.
            if process.pid != tree.root.pid:
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
        tree.root.poll()
    tree.root.wait()


def _descendants() -> list[psutil.Process]:
    """Descendants in other sessions. The load generator runs in the session of this process."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if _session(process.pid) != os.getsid(0)]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return os.getsid(0)
