"""Processes of a contender: started together, weighed together, and ended together. On Linux."""

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

# Of prctl(2): a process whose parent has gone becomes ours, and is found below.
SUBREAPER = 36
# How Python ends a traceback, and the last line of a text.
ERROR = re.compile(r"^[\w.]*(Error|Exception)\b.*: .+$", re.MULTILINE)
LINE = re.compile(r"^.+\Z", re.MULTILINE)
# How long a contender may take to end by itself.
GRACE = 15.0


@dataclass(frozen=True)
class Family:
    """A process and all that it has started, also what has left its group, as daemons do.

    A family that is started while this one runs is weighed with it, and ends alone: `others` are those
    that ran before.
    """

    leader: "subprocess.Popen[bytes]"
    log: Path
    others: frozenset[psutil.Process] = frozenset()

    @property
    def members(self) -> list[psutil.Process]:
        """All that run now."""
        return [process for process in _started_by_us() if process not in self.others]

    def pss(self) -> float:
        """Proportional set size of all of them, MB: pages that they share count once."""
        total = 0
        for process in self.members:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_full_info().pss
        return total / 2**20

    def ended(self) -> bool:
        """Has it gone by itself?"""
        return self.leader.poll() is not None

    def last_words(self) -> str:
        """The first error that it has written, which others follow from, or else the last line."""
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        words = ERROR.search(text) or LINE.search(text)
        return words[0].strip()[:300] if words else "it wrote nothing"


@contextmanager
def family(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[Family]:
    """Starts a command, and ends it with all of its descendants however the block ends."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    others = frozenset(_started_by_us())
    with log.open("wb") as out:
        leader = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Family(leader, log, others)
    try:
        yield started
    finally:
        _end(started)


def _end(family: Family) -> None:
    """Asks politely first: some remove shared memory and files when they end."""
    if not family.ended():
        family.leader.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            family.leader.wait(GRACE)
    # Whoever is killed may leave orphans that were not seen before.
    deadline = time.monotonic() + GRACE
    while (left := family.members) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)
        for process in left:
            # The leader is its Popen's to wait for, and those with another parent are not ours.
            if process.pid != family.leader.pid:
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
        family.leader.poll()
    family.leader.wait()


def _started_by_us() -> list[psutil.Process]:
    """What shares our session is no contender, but the load generator."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if _session(process.pid) != os.getsid(0)]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return os.getsid(0)
