"""Writes log lines to standard output without blocking, even if no process reads it.

A line is written at once, by the calling thread, if the system accepts it. Otherwise it goes to a queue of
bounded size, which a thread writes when the output becomes writable. Beyond the bound, lines are dropped and
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

# All queued lines: one to two thousand.
QUEUE_BYTES = 512 * 1024
# At the end of the process, time for a slow reader.
FLUSH_SECONDS = 1.0
# Between two attempts of the thread, if the output is reported writable and then accepts nothing.
RETRY_SECONDS = 0.01

Write = Callable[[bytes], int]


class NonblockingOutput:
    """Writes whole lines to a descriptor. `format_dropped` makes the line that reports dropped ones."""

    def __init__(self, descriptor: int | None, format_dropped: Callable[[int], bytes] | None = None) -> None:
        self._descriptor, self._format_dropped = descriptor, format_dropped
        self._reset()
        # A forked process writes its own lines only, with a thread of its own.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Reentrant: a signal handler may log while its thread holds the lock.
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._queued_bytes = self._unreported = self.dropped = 0
        self._thread: threading.Thread | None = None
        self._write: Write | None = None

    def write(self, line: bytes) -> None:
        """Writes a line, queues it, or drops it."""
        with self._lock:
            self._append(line)
            self._write_queued()
            if self._lines and self._thread is None:
                self._start_thread()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Writes queued lines, within a time limit."""
        end = time.monotonic() + seconds
        while self._lines and (left := end - time.monotonic()) > 0:
            self._wait_writable(left)
            with self._lock:
                self._write_queued()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="output", daemon=True)
        # If the system refuses a thread, the next line tries again.
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        """In the thread: writes when the output is writable, until the queue is empty."""
        while True:
            self._wait_writable(None)
            with self._lock:
                before = self._queued_bytes
                self._write_queued()
                if not self._lines:
                    self._thread = None
                    return
                progress = self._queued_bytes < before
            if not progress:
                time.sleep(RETRY_SECONDS)

    def _append(self, line: bytes) -> None:
        if self._queued_bytes + len(line) > QUEUE_BYTES:
            self._count_dropped(1)
        else:
            self._lines.append(line)
            self._queued_bytes += len(line)

    def _write_queued(self) -> None:
        """Writes as much as the output accepts. When the queue is empty, reports lines dropped before."""
        while self._lines:
            line = self._lines.popleft()
            self._queued_bytes -= len(line)
            try:
                written = self._open()(line)
            except BlockingIOError:
                written = 0
            # The reader has closed its end, or the disk is full.
            except OSError:
                self._count_dropped(1 + len(self._lines))
                self._lines.clear()
                self._queued_bytes = 0
                return
            if rest := line[written:]:
                self._lines.appendleft(rest)
                self._queued_bytes += len(rest)
                return
            if not self._lines and self._unreported and self._format_dropped:
                report, self._unreported = self._format_dropped(self._unreported), 0
                self._append(report)

    def _count_dropped(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines

    def _open(self) -> Write:
        if self._write is None:
            self._write = open_nonblocking(self._descriptor)
        return self._write

    def _wait_writable(self, seconds: float | None) -> None:
        """Waits until the output is writable or broken."""
        if self._descriptor is not None:
            _poll_writable(self._descriptor, None if seconds is None else 1000 * seconds)


def open_nonblocking(descriptor: int | None) -> Write:
    """A function that writes without blocking; it raises `BlockingIOError` if nothing is accepted.

    The descriptor's own flags are not changed, because other processes share them.
    """
    if descriptor is None:
        raise OSError(errno.EBADF, "there is no output")
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return partial(os.write, descriptor)
    if stat.S_ISSOCK(mode):
        # The journal of systemd.
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT)
    try:
        # Linux: opens the same pipe or terminal once more.
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return partial(os.write, os.open(f"/proc/self/fd/{descriptor}", flags))
    except OSError:
        return partial(_write_if_ready, descriptor)


def _write_if_ready(descriptor: int, data: bytes) -> int:
    """A writable pipe accepts this much, unless another process writes in between."""
    if not _poll_writable(descriptor, 0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def _poll_writable(descriptor: int, milliseconds: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))
