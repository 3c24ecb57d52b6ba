"""Lines for standard output, which nobody may be reading: whoever writes one never waits for it to be taken.

A line is written at once, by the thread that has it, if the system takes it. Otherwise it goes to a queue of
bounded size, which one thread writes when there is somebody who reads; beyond the bound lines are dropped and
counted.
"""

import errno
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

# All lines that wait: one to two thousand.
BYTES = 512 * 1024
# At the end of the process, for whoever reads slowly.
FLUSH_SECONDS = 1.0
# Between two attempts of the thread, where the system says that it takes something and then does not.
PAUSE = 0.01

Write = Callable[[bytes], int]


class Output:
    """Whole lines to a descriptor. `tell` makes the line that says how many were dropped."""

    def __init__(self, descriptor: int | None, tell: Callable[[int], bytes] | None = None) -> None:
        self._descriptor, self._tell = descriptor, tell
        self._reset()
        # The lines of the process that forks are its own, and so is the thread that writes them.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Reentrant: a signal may have something to say while its thread is in here.
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._size = self._untold = self.dropped = 0
        self._thread: threading.Thread | None = None
        self._write: Write | None = None

    def write(self, line: bytes) -> None:
        """Writes a line, now or later, or drops it."""
        with self._lock:
            self._append(line)
            self._send()
            if self._lines and self._thread is None:
                self._start()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Writes what waits, as far as it is taken within so many seconds."""
        end = time.monotonic() + seconds
        while self._lines and (left := end - time.monotonic()) > 0:
            self._await(left)
            with self._lock:
                self._send()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="output", daemon=True)
        # Where the system gives no thread, the next line tries again.
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        """In the thread: writes when somebody reads, until nothing waits."""
        while True:
            self._await(None)
            with self._lock:
                before = self._size
                self._send()
                if not self._lines:
                    self._thread = None
                    return
                taken = self._size < before
            if not taken:
                time.sleep(PAUSE)

    def _append(self, line: bytes) -> None:
        if self._size + len(line) > BYTES:
            self._drop(1)
        else:
            self._lines.append(line)
            self._size += len(line)

    def _send(self) -> None:
        """Writes what is taken now, and when that was all also how many lines were dropped before."""
        while self._lines:
            line = self._lines.popleft()
            self._size -= len(line)
            try:
                sent = self._opened()(line)
            except BlockingIOError:
                sent = 0
            # Nobody will ever read it, or the disk is full.
            except OSError:
                self._drop(1 + len(self._lines))
                self._lines.clear()
                self._size = 0
                return
            if rest := line[sent:]:
                self._lines.appendleft(rest)
                self._size += len(rest)
                return
            if not self._lines and self._untold and self._tell:
                told, self._untold = self._tell(self._untold), 0
                self._append(told)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _opened(self) -> Write:
        if self._write is None:
            self._write = opened(self._descriptor)
        return self._write

    def _await(self, seconds: float | None) -> None:
        """Waits until something can be written, or never will be."""
        if self._descriptor is not None:
            _poll(self._descriptor, None if seconds is None else 1000 * seconds)


def opened(descriptor: int | None) -> Write:
    """A function that writes what is taken now, and raises `BlockingIOError` when that is nothing.

    The descriptor itself is left as it is: other processes have it as well, and would find it changed.
    """
    if descriptor is None:
        raise OSError(errno.EBADF, "there is no output")
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return partial(os.write, descriptor)
    if stat.S_ISSOCK(mode):
        # That of systemd's journal.
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT)
    try:
        # Linux: the same pipe or terminal, opened once more.
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return partial(os.write, os.open(f"/proc/self/fd/{descriptor}", flags))
    except OSError:
        return partial(_write_if_ready, descriptor)


def _write_if_ready(descriptor: int, data: bytes) -> int:
    """A pipe that takes something takes as much as this, unless another process is faster."""
    if not _poll(descriptor, 0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def _poll(descriptor: int, milliseconds: float | None) -> bool:
    watch = select.poll()
    watch.register(descriptor, select.POLLOUT)
    return bool(watch.poll(milliseconds))
