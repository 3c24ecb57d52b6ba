"""Rate limits and quotas hold for all worker processes together, and a killed one blocks nobody."""

import hashlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest

from serving.api.access_control import OPEN_QUOTAS, AccessControl
from serving.api.errors import QuotaExceeded
from serving.api.rate_limit import ClientWindows, RateLimiter
from serving.config import SettingsInvalid
from serving.rates import Rate
from serving.workers.shared_folder import SharedFolder
from tests.repo.imports import ROOT
from tests.serving.api.counting_process import CLIENT, NAME, SECONDS
from tests.serving.api.test_access_control import RED, request_from
from tests.serving.servers import TIMEOUT, Server, await_ready, await_true, publish, running
from tests.serving.wire import post, read


@pytest.fixture
def folder(tmp_path: Path) -> SharedFolder:
    """A folder that processes share."""
    return SharedFolder.create(tmp_path)


@contextmanager
def counting(folder: SharedFolder, amount: int, requests: int) -> "Iterator[subprocess.Popen[str]]":
    """A process that has started, and waits for a line before it sends its requests."""
    module, options = "tests.serving.api.counting_process", [str(amount), str(requests)]
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(folder.path), *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def answer(process: "subprocess.Popen[str]") -> str:
    """Has a process send its requests; returns its next line."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_two_processes_allow_together_what_the_limit_allows(folder: SharedFolder) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        processes = [stack.enter_context(counting(folder, 3000, 2000)) for _ in range(2)]
        first, second = map(int, threads.map(answer, processes))
    assert first + second == 3000
    # Neither could use up the limit alone: both were at it.
    assert min(first, second) >= 1000


def test_a_process_killed_while_it_holds_the_lock_blocks_nobody(folder: SharedFolder) -> None:
    limits, limiter = [ClientWindows(Rate(1, SECONDS), folder, NAME)], RateLimiter(folder)
    with counting(folder, 1, 0) as process, ThreadPoolExecutor() as threads:
        assert answer(process) == "in the middle"
        waiting = threads.submit(limiter.hit, limits, CLIENT)
        time.sleep(0.1)
        assert not waiting.done()
        process.send_signal(signal.SIGKILL)
        assert waiting.result(TIMEOUT) == 0
    assert limiter.hit(limits, CLIENT) > 0


class Killed(BaseException):
    """Ends a request where a signal would end its process."""


class Cells:
    """The numbers of a table, of which only so many are written any more."""

    def __init__(self, cells: "memoryview[int]", writes: int) -> None:
        self._cells, self._left = cells, writes

    def __getitem__(self, where: slice) -> "memoryview[int]":
        return self._cells[where]

    def __setitem__(self, where: int, number: int) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        self._cells[where] = number


LIMIT = Rate(3, 100)


def open_windows(folder: SharedFolder) -> ClientWindows:
    """The windows of the limit, as another process has them."""
    return ClientWindows(LIMIT, folder, NAME, clients=10, networks=0)


def count_allowed(folder: SharedFolder, client: str, now: float, requests: int = 2 * LIMIT.amount) -> int:
    """Sends requests; returns how many were allowed."""
    windows, limiter = open_windows(folder), RateLimiter(folder, lambda: now)
    return sum(not limiter.hit([windows], client) for _ in range(requests))


def is_killed(folder: SharedFolder, now: float, writes: int) -> bool:
    """Sends a request of a process that is killed after so many writes. False if it needs no more."""
    windows = open_windows(folder)
    table = windows._tables[0]
    table._cells = Cells(table._cells, writes)  # type: ignore[assignment]
    try:
        RateLimiter(folder, lambda: now).hit([windows], CLIENT)
    except Killed:
        return True
    return False


# Earlier requests of the client: how many of them, and how many periods before.
@pytest.mark.parametrize("earlier", [{}, {0: 2}, {1: 3}, {2: 3}, {2: 3, 1: 2}])
def test_a_process_killed_between_two_writes_blocks_nobody(tmp_path: Path, earlier: dict[int, int]) -> None:
    now = 1099.0
    for writes in count():
        folder = SharedFolder.create(tmp_path)
        for periods, requests in earlier.items():
            count_allowed(folder, CLIENT, now - periods * LIMIT.seconds, requests)
        killed = is_killed(folder, now, writes)
        # The request may be lost, and what the client had sent in the previous period. It gets no more.
        left = LIMIT.amount - earlier.get(0, 0)
        assert left - 1 <= count_allowed(folder, CLIENT, now) <= (left if killed else left - 1)
        assert count_allowed(folder, "another", now) == LIMIT.amount
        # Two periods later nothing is left of it, and the table has room for as many clients as before.
        for client in (CLIENT, *map(str, range(9))):
            assert count_allowed(folder, client, now + 2 * LIMIT.seconds) == LIMIT.amount
        assert len(open_windows(folder)) == 10
        if not killed:
            break
    assert writes >= 3


def digest(key: str) -> str:
    """The SHA-256 of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def descriptors() -> int:
    """The number of file descriptors of this process."""
    return psutil.Process().num_fds()


def test_quotas_are_shared(folder: SharedFolder, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice {digest('alice')} quota=3/day\nbob {digest('bob')} quota=2/day\n")
    workers = [AccessControl((), "", folder, file) for _ in range(2)]
    request = request_from(CLIENT)
    for key, quota in (("alice", 3), ("bob", 2)):
        request.environ["HTTP_X_API_KEY"] = key
        for number in range(quota):
            workers[number % 2].check(request)
        for worker in workers:
            with pytest.raises(QuotaExceeded, match=f"{quota}/day"):
                worker.check(request)


def test_many_quotas_take_few_descriptors(folder: SharedFolder, tmp_path: Path) -> None:
    file, names = tmp_path / "keys", [f"client-{number}" for number in range(1, 3 * OPEN_QUOTAS)]
    lines = [f"{name} {digest(name)} quota=1/{days}days\n" for days, name in enumerate(names, 1)]
    file.write_text("".join(lines))
    access, request, before = AccessControl((), "", folder, file), request_from(CLIENT), descriptors()
    for name in names:
        request.environ["HTTP_X_API_KEY"] = name
        access.check(request)
    assert descriptors() - before <= OPEN_QUOTAS + 1
    # What is not open any more is still counted.
    for name in names:
        request.environ["HTTP_X_API_KEY"] = name
        with pytest.raises(QuotaExceeded):
            access.check(request)


def test_without_room_for_the_counts_the_server_does_not_start(folder: SharedFolder) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(SettingsInvalid, match=r"GOLDFISH_RATE_LIMIT cannot be used: .*File too large"):
            AccessControl((), "1/day", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # No part of a file is left, which another worker would take for complete.
    assert not list(folder.path.iterdir())


def has_opened(process: psutil.Process, name: str) -> bool:
    """Has a process a file of this name open?"""
    return any(Path(file.path).name.startswith(name) for file in process.open_files())


def statuses(server: Server, number: int) -> list[int]:
    """The statuses of requests on connections that are open at the same time."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(number)]
        for connection in connections:
            connection.sendall(post("/inference", RED))
        return sorted(read(connection).status for connection in connections)


def await_workers(server: Server) -> list[psutil.Process]:
    """Waits until both workers count requests."""
    master = psutil.Process(server.process.pid)
    await_true(lambda: sum(has_opened(worker, "limit-") for worker in master.children()) == 2)
    await_ready(server)
    return master.children()


def test_workers_allow_together_what_the_limit_allows(tmp_path: Path) -> None:
    with running(publish(tmp_path), workers=2, slots=2, rate_limit="5/day") as server:
        workers = await_workers(server)
        assert statuses(server, 20) == [200] * 5 + [429] * 15
        # Workers that replace them go on with the count.
        for worker in workers:
            worker.kill()
        await_true(lambda: not any(worker.is_running() for worker in workers))
        await_workers(server)
        assert statuses(server, 4) == [429] * 4
