"""Whoever does not read standard output stops nothing: lines wait, then they are dropped and counted."""

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
from tests.serving.servers import PATIENCE, Server, await_ready, command, free_port, publish
from tests.serving.wire import head

LINE = b"x" * 199 + b"\n"
SMALL = 4096


def told(lines: int) -> bytes:
    """How a lack of lines is told."""
    return b"%d dropped\n" % lines


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe that is soon full: the one to read from, and the one to write to."""
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
    server = Server(command(folder, port=port, drain=0, stdout=descriptor), port, folder)
    try:
        await_ready(server)
        yield server
    finally:
        server.session.close()
        server.process.kill()
        server.process.wait(PATIENCE)


def ask_often(server: Server, times: int) -> None:
    """So many requests on one connection, a hundred at once; all are answered."""
    with closing(server.connect()) as connection:
        for _ in range(times // 100):
            connection.sendall(head("GET", "/livez", f"X-Request-Id: {'i' * 64}") * 100)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 100 or not answers.endswith(b"}"):
                answers += connection.recv(65536)


def read_all(end: int) -> bytes:
    """What comes out until nothing has come for a while."""
    os.set_blocking(end, False)
    data, until = b"", time.monotonic() + 0.5
    while time.monotonic() < until:
        with suppress(BlockingIOError):
            if part := os.read(end, 65536):
                data, until = data + part, time.monotonic() + 0.5
                continue
        time.sleep(0.01)
    return data


def test_server_goes_on_and_counts(tmp_path: Path) -> None:
    with pipe() as (reader, writer), unread(publish(tmp_path), writer) as server:
        ask_often(server, 2400)
        assert server.get("/readyz").ok
        dropped = gauge(server, "goldfish_log_lines_dropped_total")
        assert dropped > 100
        # Now somebody reads.
        lines = [json.loads(line) for line in read_all(reader).splitlines()]
        assert len(lines) > QUEUE_BYTES // 1000
        (notice,) = [line for line in lines if line.get("code") == "log_dropped"]
        assert int(notice["message"].split()[0]) >= dropped
        assert notice["level"] == "warning"
        ask_often(server, 100)
        assert len(read_all(reader).splitlines()) == 100


def test_full_pipe_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with pipe() as (_, writer), unread(publish(tmp_path), writer) as server:
        ask_often(server, 300)
        # The worker's end is a message of the master's, who must not wait either.
        os.kill(server.worker.pid, signal.SIGKILL)
        await_ready(server)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5


def test_reader_that_has_gone(tmp_path: Path) -> None:
    with pipe() as (reader, writer), unread(publish(tmp_path), writer) as server:
        os.close(reader)
        # The test's own end would keep the pipe.
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
    """As the journal of systemd has them."""
    one, two = socket.socketpair()
    return one.detach(), two.detach()


def file() -> tuple[int, int]:
    """A file, read from the beginning."""
    writer = os.memfd_create("log")
    return os.open(f"/proc/self/fd/{writer}", os.O_RDONLY), writer


@pytest.mark.parametrize("made", [os.pipe, sockets, pty.openpty, file])
def test_lines_come_whole_and_in_order_from_everything(made: Callable[[], tuple[int, int]]) -> None:
    reader, writer = made()
    output = NonblockingOutput(writer, told)
    wanted = b"".join(b"%05d %s" % (number, LINE) for number in range(2000))
    heard: list[bytes] = []
    listener = threading.Thread(target=lambda: heard.append(read_all(reader)))
    for line in wanted.splitlines(keepends=True)[:1000]:
        output.write(line)
    listener.start()
    time.sleep(0.1)
    for line in wanted.splitlines(keepends=True)[1000:]:
        output.write(line)
    output.flush(PATIENCE)
    listener.join()
    # A terminal makes CR LF of the ends of lines.
    assert heard[0].replace(b"\r\n", b"\n") == wanted
    assert output.dropped == 0
    # Others have the descriptor as well.
    assert os.get_blocking(writer)
    for end in (reader, writer):
        os.close(end)


def test_dropped_lines_are_counted_and_told_once() -> None:
    with pipe() as (reader, writer):
        output = NonblockingOutput(writer, told)
        lines = (QUEUE_BYTES + SMALL) // len(LINE) + 50
        for _ in range(lines):
            output.write(LINE)
        dropped = output.dropped
        assert 0 < dropped <= 51
        found = read_all(reader).splitlines(keepends=True)
        assert found == [LINE] * (lines - dropped) + [told(dropped)]
        output.write(LINE)
        assert read_all(reader) == LINE


def test_flush_is_bounded() -> None:
    with pipe() as (_, writer):
        output = NonblockingOutput(writer, told)
        for _ in range(100):
            output.write(LINE)
        began = time.monotonic()
        output.flush(0.2)
        assert 0.2 <= time.monotonic() - began < 1


def test_forked_process_writes_its_own_lines_only() -> None:
    with pipe() as (reader, writer):
        output = NonblockingOutput(writer, told)
        for _ in range(40):
            output.write(LINE)
        if (child := os.fork()) == 0:
            output.write(b"child\n")
            output.flush(PATIENCE)
            os._exit(0)
        data = read_all(reader)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(data.splitlines(keepends=True)) == [b"child\n", *[LINE] * 40]


@pytest.mark.parametrize("descriptor", [None, 987])
def test_no_output_at_all(descriptor: int | None) -> None:
    output = NonblockingOutput(descriptor, told)
    output.write(LINE)
    output.flush()
    assert output.dropped == 1
