"""Several worker processes act as one server: one set of limits, counts and versions."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
import requests

from serving.server.worker import CROWDED_AHEAD
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.updates.test_refused_versions import golden_images_differ, served
from tests.serving.updates.test_trials import colours, trial_of
from tests.serving.updates.versions import add_version, await_version, pin_and_await, write_pin

RED = one_colour_png(COLOURS["red"])
WORKERS = 3


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with three workers, which share three slots."""
    with running(publish(tmp_path_factory.mktemp("several")), workers=WORKERS, slots=WORKERS) as started:
        await_true(lambda: sum(line["message"] == "ready" for line in started.log()) == WORKERS)
        yield started


def workers(server: Server) -> list[psutil.Process]:
    """The worker processes."""
    return psutil.Process(server.process.pid).children()


def value(server: Server, name: str) -> float:
    """The value of a metric without labels, or with these."""
    (line,) = [each for each in server.get("/metrics").text.splitlines() if each.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def ask_separately(server: Server, count: int) -> list[requests.Response]:
    """Requests on as many connections, a few at a time."""
    with ThreadPoolExecutor(6) as pool:
        ask = lambda _: requests.post(f"{server.url}/inference", data=RED, timeout=TIMEOUT)  # noqa: E731
        return list(pool.map(ask, range(count)))


def test_all_of_them_answer(several: Server) -> None:
    assert len(workers(several)) == WORKERS
    before = {each.pid: sum(each.cpu_times()[:2]) for each in workers(several)}
    assert {each.status_code for each in ask_separately(several, 90)} == {200}
    busy = [sum(each.cpu_times()[:2]) - before[each.pid] for each in workers(several)]
    assert min(busy) > max(busy) / 5, busy


def client_ports(worker: psutil.Process) -> set[int]:
    """The ports of the clients that are connected to a worker."""
    open_ones = [each for each in worker.net_connections() if each.status == psutil.CONN_ESTABLISHED]
    return {each.raddr.port for each in open_ones}


def ask(client: HTTPConnection) -> int:
    """One request; the client connects again if the last response has closed its connection."""
    client.request("GET", "/readyz")
    with client.getresponse() as response:
        response.read()
    return response.status


def test_kept_connections_move_to_a_worker_that_has_none(several: Server) -> None:
    with ExitStack() as stack:
        clients = [HTTPConnection("127.0.0.1", several.port, timeout=TIMEOUT) for _ in range(30)]
        for client in clients:
            stack.callback(client.close)
            assert ask(client) == 200
        left = client_ports(workers(several)[0])
        staying = [client for client in clients if client.sock.getsockname()[1] not in left]
        assert 0 < len(staying) < len(clients)
        for client in set(clients) - set(staying):
            client.close()
        await_true(lambda: not client_ports(workers(several)[0]))
        assert {ask(client) for _ in range(3) for client in staying} == {200}
        counts = [len(client_ports(each)) for each in workers(several)]
        assert max(counts) - min(counts) <= CROWDED_AHEAD + 1, counts


def test_counts_are_sums_and_outlive_a_worker(several: Server) -> None:
    name = 'goldfish_requests_total{route="/inference",status="200"}'
    ask_separately(several, 1)
    before = value(several, name)
    ask_separately(several, 50)
    assert value(several, name) == before + 50
    statistics = several.get("/v2/models/colours/stats").json()["model_stats"][0]
    killed = workers(several)[0]
    killed.kill()
    await_true(lambda: len({each.pid for each in workers(several)} - {killed.pid}) == WORKERS)
    await_true(lambda: value(several, "goldfish_workers") == WORKERS)
    assert value(several, name) == before + 50
    after = several.get("/v2/models/colours/stats").json()["model_stats"][0]
    assert after["inference_count"] == statistics["inference_count"] >= 50
    assert value(several, "goldfish_worker_restarts_total") == 1
    assert {each.status_code for each in ask_separately(several, 30)} == {200}


def test_answers_of_all_are_compared_with_the_validation_images(several: Server) -> None:
    ask_separately(several, 40)
    assert value(several, 'goldfish_window_answers{model="colours"}') >= 100
    assert several.get("/model").json()["drift"]["answers"] >= 100


def test_all_of_them_change_together(several: Server) -> None:
    pin = add_version(several.folder, 4, steepness=2.0)
    pin_and_await(several, pin)
    # All have it loaded before the first one answers with it; each looks at its files every few milliseconds.
    time.sleep(0.2)
    digests = Counter(each.headers["X-Model-Digest"] for each in ask_separately(several, 40))
    assert digests == {pin.digest: 40}


def test_what_is_refused_by_one_is_refused_by_all(several: Server) -> None:
    before = served(several)
    write_pin(several.folder, golden_images_differ(several.folder))
    await_true(lambda: value(several, 'goldfish_update_refused{model="colours",target="active"}') == 1)
    write_pin(several.folder, before)


def test_pins_that_change_quickly_are_followed_by_all(several: Server) -> None:
    before = served(several)
    pins = [add_version(several.folder, number, steepness=1 + number / 10) for number in (5, 6, 7)]
    for pin in (*pins, pins[0], pins[2], pins[1]):
        write_pin(several.folder, pin)
        time.sleep(0.1)
    await_version(several, pins[1])
    time.sleep(0.2)
    digests = Counter(each.headers["X-Model-Digest"] for each in ask_separately(several, 30))
    assert digests == {pins[1].digest: 30}
    pin_and_await(several, before)


def test_a_worker_that_starts_in_the_middle_serves_what_the_others_do(several: Server) -> None:
    pin = add_version(several.folder, 8, steepness=2.8)
    write_pin(several.folder, pin)
    killed = workers(several)[0]
    killed.kill()
    await_true(lambda: len({each.pid for each in workers(several)} - {killed.pid}) == WORKERS)

    def all_serve_it() -> bool:
        found = Counter(each.headers["X-Model-Digest"] for each in ask_separately(several, 30))
        return found == {pin.digest: 30}

    await_true(all_serve_it)


def test_they_share_slots_and_queue(tmp_path: Path) -> None:
    settings = {"workers": 2, "slots": 2, "queue": 2}
    with running(publish(tmp_path), **settings) as server:
        assert value(server, "goldfish_slots") == 2
        statuses = Counter(each.status_code for each in ask_separately(server, 60))
        assert statuses[200] > 0
        assert set(statuses) <= {200, 503}


def test_an_orderly_stop_ends_all(tmp_path: Path) -> None:
    with running(publish(tmp_path), workers=2, slots=2) as server:
        children = workers(server)
        shared = [path for path in Path("/dev/shm").glob("goldfish-*") if _is_of(path, server)]  # noqa: S108
        assert len(shared) == 1
        assert server.stop() == 0
        assert not any(each.is_running() for each in children)
        assert not shared[0].exists()


def _is_of(folder: Path, server: Server) -> bool:
    """Does the server have a folder open, which it locks?"""
    descriptors = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return any(os.path.realpath(each) == str(folder) for each in descriptors)


def test_a_trial_counts_the_answers_of_all(tmp_path: Path) -> None:
    with running(publish(tmp_path), workers=2, slots=2, shadow=1) as server:
        write_pin(tmp_path, add_version(tmp_path, 4, steepness=3.0))
        await_true(lambda: bool(trial_of(server)))
        time.sleep(0.5)
        for image in colours(60):
            requests.post(f"{server.url}/inference", data=image, timeout=TIMEOUT)
        await_true(lambda: trial_of(server)["compared"] + trial_of(server)["dropped"] >= 60)
        assert trial_of(server)["agreed"] == trial_of(server)["compared"]
