"""An unread standard output does not block the server: lines are queued, then dropped and counted."""

import fcntl
import json
import os
import pty
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from serving.nonblocking_output import QUEUE_BYTES, NonblockingOutput
from tests.serving.server.test_overload import gauge
from tests.serving.servers import TIMEOUT, Server, await_ready, free_port, publish, start_server
from tests.serving.wire import head

LINE = b"x" * 199 + b"\n"
SMALL = 4096


def format_dropped(lines: int) -> bytes:
    """The line that reports dropped ones."""
    return b"%d dropped\n" % lines


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a small pipe."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, SMALL)
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)


@contextmanager
def unread(folder: Path, descriptor: int) -> Iterator[Server]:
    """A server that writes its log to a descriptor."""
    port = free_port()
    server = Server(start_server(folder, port=port, drain=0, stdout=descriptor), port, folder)
    try:
        await_ready(server)
        yield server
    finally:
        server.session.close()
        server.process.kill()
        server.process.wait(TIMEOUT)


def ask_often(server: Server, times: int) -> None:
    """Sends requests on one connection, a hundred at once, and reads all responses."""
    with closing(server.connect()) as connection:
        for _ in range(times // 100):
            connection.sendall(head("GET", "/livez", f"X-Request-Id: {'i' * 64}") * 100)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 100 or not answers.endswith(b"}"):
                answers += connection.recv(65536)


def read_until(end: int, complete: Callable[[bytes], bool]) -> bytes:
    """Reads until the data is complete, at most for `TIMEOUT`."""
    os.set_blocking(end, False)
    data, deadline = b"", time.monotonic() + TIMEOUT
    while not complete(data) and time.monotonic() < deadline:
        try:
            data += os.read(end, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    return data


def read_lines(end: int, lines: int) -> bytes:
    """Reads a number of lines, and checks that no more follow."""
    data = read_until(end, lambda data: data.count(b"\n") >= lines)
    time.sleep(0.1)
    with suppress(BlockingIOError):
        assert os.read(end, 1) == b""
    return data


def test_server_goes_on_and_counts(tmp_path: Path) -> None:
    with pipe() as (reader, writer), unread(publish(tmp_path), writer) as server:
        ask_often(server, 2400)
        assert server.get("/readyz").ok
        dropped = gauge(server, "goldfish_log_lines_dropped_total")
        assert dropped > 100
        # Now the output is read. The report of dropped lines is the last one.
        data = read_until(reader, lambda data: b"log_dropped" in data and data.endswith(b"\n"))
        lines = [json.loads(line) for line in data.splitlines()]
        assert len(lines) > QUEUE_BYTES // 1000
        (notice,) = [line for line in lines if line.get("code") == "log_dropped"]
        assert int(notice["message"].split()[0]) >= dropped
        assert notice["level"] == "warning"
        ask_often(server, 100)
        assert len(read_lines(reader, 100).splitlines()) == 100


def test_full_pipe_does_not_delay_the_stop(tmp_path: Path) -> None:
    with pipe() as (_, writer), unread(publish(tmp_path), writer) as server:
        ask_often(server, 300)
        # The master process logs the end of the worker, and must not block either.
        os.kill(server.worker.pid, signal.SIGKILL)
        await_ready(server)
        assert server.stop() == 0


def test_closed_pipe(tmp_path: Path) -> None:
    with pipe() as (reader, writer), unread(publish(tmp_path), writer) as server:
        os.close(reader)
        ask_often(server, 300)
        assert server.get("/readyz").ok
        assert gauge(server, "goldfish_log_lines_dropped_total") >= 300
        assert (server.folder / "log").read_text() == ""
        assert server.stop() == 0


def test_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, unread(publish(tmp_path), full.fileno()) as server:
        ask_often(server, 100)
        assert gauge(server, "goldfish_log_lines_dropped_total") >= 100
        assert (server.folder / "log").read_text() == ""


def sockets() -> tuple[int, int]:
    """Sockets, as systemd's journal uses them."""
    one, two = socket.socketpair()
    return one.detach(), two.detach()


def file() -> tuple[int, int]:
    """A file, read from the beginning."""
    writer = os.memfd_create("log")
    return os.open(f"/proc/self/fd/{writer}", os.O_RDONLY), writer


@pytest.mark.parametrize("made", [os.pipe, sockets, pty.openpty, file])
def test_lines_come_whole_and_in_order_from_everything(made: Callable[[], tuple[int, int]]) -> None:
    reader, writer = made()
    output = NonblockingOutput(writer, format_dropped)
    wanted = b"".join(b"%05d %s" % (number, LINE) for number in range(2000))
    found: list[bytes] = []
    listener = threading.Thread(target=lambda: found.append(read_lines(reader, 2000)))
    for line in wanted.splitlines(keepends=True)[:1000]:
        output.write(line)
    listener.start()
    time.sleep(0.1)
    for line in wanted.splitlines(keepends=True)[1000:]:
        output.write(line)
    output.flush(TIMEOUT)
    listener.join()
    # A terminal turns LF into CR LF.
    assert found[0].replace(b"\r\n", b"\n") == wanted
    assert output.dropped == 0
    # The flags of the shared descriptor are unchanged.
    assert os.get_blocking(writer)
    for end in (reader, writer):
        os.close(end)


def test_dropped_lines_are_counted_and_reported_once() -> None:
    with pipe() as (reader, writer):
        output = NonblockingOutput(writer, format_dropped)
        lines = (QUEUE_BYTES + SMALL) // len(LINE) + 50
        for _ in range(lines):
            output.write(LINE)
        dropped = output.dropped
        assert 0 < dropped <= 51
        found = read_lines(reader, lines - dropped + 1).splitlines(keepends=True)
        assert found == [LINE] * (lines - dropped) + [format_dropped(dropped)]
        output.write(LINE)
        assert read_lines(reader, 1) == LINE


def test_flush_is_bounded() -> None:
    with pipe() as (_, writer):
        output = NonblockingOutput(writer, format_dropped)
        for _ in range(100):
            output.write(LINE)
        began = time.monotonic()
        output.flush(0.2)
        assert time.monotonic() - began >= 0.2


def test_forked_process_writes_its_own_lines_only() -> None:
    with pipe() as (reader, writer):
        output = NonblockingOutput(writer, format_dropped)
        for _ in range(40):
            output.write(LINE)
        if (child := os.fork()) == 0:
            output.write(b"child\n")
            output.flush(TIMEOUT)
            os._exit(0)
        data = read_lines(reader, 41)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(data.splitlines(keepends=True)) == [b"child\n", *[LINE] * 40]


@pytest.mark.parametrize("descriptor", [None, 987])
def test_no_output_at_all(descriptor: int | None) -> None:
    output = NonblockingOutput(descriptor, format_dropped)
    output.write(LINE)
    output.flush()
    assert output.dropped == 1
