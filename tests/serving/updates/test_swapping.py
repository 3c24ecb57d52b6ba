"""The served version changes with its pin, without a restart."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import requests

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, expected_probabilities, one_colour_png
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.updates.versions import (
    add_version,
    await_version,
    pin_and_await,
    pulled,
    states,
    write_pin,
)

RED = one_colour_png(COLOURS["red"])
# Of the version that the server starts with, and of those that the tests change to.
STEEPNESS = {3: 4.0, 4: 2.0, 5: 3.0}
CLIENTS = 8


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that starts with version 3 and keeps the version before for an hour."""
    with running(publish(tmp_path_factory.mktemp("live")), bake=3600) as started:
        yield started


@pytest.fixture(scope="module")
def versions(live: Server) -> dict[int, Pin]:
    """The pins of three versions, by number."""
    pins = {3: Pin("colours", 3, Bundle.open(live.folder / "models/colours/bundle").digest)}
    return pins | {n: add_version(live.folder, n, steepness=STEEPNESS[n]) for n in (4, 5)}


def test_everything_changes_with_the_pin(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[3])
    worker = live.worker.pid
    pin_and_await(live, versions[4])
    response = live.post("/predict", data=RED)
    found = expected_probabilities(COLOURS["red"], STEEPNESS[4])[0]
    assert response.json()["predictions"][0][0]["score"] == pytest.approx(found, abs=1e-5)
    assert response.json()["model"] == versions[4].identity
    assert response.headers["X-Model-Digest"] == versions[4].digest
    assert live.log()[-1]["digest"] == versions[4].digest
    assert states(live) == [(4, "active"), (3, "previous")]
    labels = f'digest="{versions[4].digest}",name="colours",role="active",version="4"'
    info = f"goldfish_model_info{{{labels}}} 1.0"
    assert info in live.get("/metrics").text.splitlines()
    assert live.get("/openapi.json").json()["info"]["version"] == f"4+{versions[4].digest[:12]}"
    assert live.worker.pid == worker
    (line,) = [each for each in live.log() if each.get("replaced", {}).get("version") == 3]
    assert (line["message"], line["version"]) == ("the served version has changed", 4)


def test_versions_that_are_loaded_can_be_addressed(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[3])
    pin_and_await(live, versions[4])
    paths = ("versions/3", "labels/previous", "versions/4", "labels/champion")
    served = [live.get(f"/v1/models/colours/{path}").headers["X-Model-Version"] for path in paths]
    assert served == ["3", "3", "4", "4"]
    assert live.get("/v2/models/colours").json()["versions"] == ["3", "4"]


def test_the_way_back_needs_no_files(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[4])
    pin_and_await(live, versions[5])
    kept = pulled(live.folder, versions[4]).rename(live.folder / "hidden")
    pin_and_await(live, versions[4])
    kept.rename(pulled(live.folder, versions[4]))


def test_a_new_number_of_the_same_bundle_is_shown(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[4])
    before = states(live)
    write_pin(live.folder, replace(versions[4], version=40))
    await_true(lambda: live.get("/version").json()["version"] == 40)
    assert states(live)[1:] == before[1:]


def test_a_worker_that_restarts_serves_the_new_version(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[5])
    # The master process looks once a second.
    time.sleep(1.5)
    hidden = live.folder / "hidden"
    pulled(live.folder, versions[5]).rename(hidden)
    old = live.worker
    old.kill()
    old.wait(TIMEOUT)
    await_true(lambda: "X-Model-Digest" in _try_version(live))
    assert _try_version(live)["X-Model-Digest"] == versions[5].digest
    hidden.rename(pulled(live.folder, versions[5]))


def _try_version(server: Server) -> dict[str, str]:
    try:
        return dict(requests.get(f"{server.url}/version", timeout=TIMEOUT).headers)
    except requests.ConnectionError:
        return {}


def test_no_answer_is_lost_or_mixed(live: Server, versions: dict[int, Pin]) -> None:
    """Each answer has digest, version and probability of one version, during changes too."""
    pin_and_await(live, versions[3])
    scores = {n: float(expected_probabilities(COLOURS["red"], s)[0]) for n, s in STEEPNESS.items()}
    stop = Event()

    def ask() -> list[int]:
        found = []
        with requests.Session() as session:
            while not stop.is_set():
                response = session.post(f"{live.url}/predict", data=RED, timeout=TIMEOUT)
                answer, version = response.json(), int(response.headers["X-Model-Version"])
                assert answer["model"] == versions[version].identity
                assert response.headers["X-Model-Digest"] == versions[version].digest
                assert answer["predictions"][0][0]["score"] == pytest.approx(scores[version], abs=1e-5)
                found.append(version)
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            for number in (4, 5, 3, 4, 5, 3):
                pin_and_await(live, versions[number])
        finally:
            stop.set()
        answered = [version for client in clients for version in client.result()]
    assert len(answered) > 100
    assert set(answered) == {3, 4, 5}


def test_the_version_before_is_dropped_after_a_while(tmp_path: Path) -> None:
    with running(publish(tmp_path), bake=0.5) as server:
        pin = add_version(server.folder, 4, steepness=2.0)
        pin_and_await(server, pin)
        assert states(server)[0] == (4, "active")
        await_true(lambda: states(server) == [(4, "active")])
        shutil.rmtree(pulled(server.folder, pin))
        # What is served does not depend on files any more.
        assert server.post("/inference", data=RED).ok


def test_a_pin_that_is_written_again_changes_nothing(live: Server, versions: dict[int, Pin]) -> None:
    pin_and_await(live, versions[4])
    since = live.get("/models").json()["models"][0]["versions"][0]["since"]
    write_pin(live.folder, versions[4])
    time.sleep(0.6)
    await_version(live, versions[4])
    assert live.get("/models").json()["models"][0]["versions"][0]["since"] == since


@pytest.mark.slow  # Half a minute of load; the test above covers six changes.
def test_twenty_changes_under_load_and_memory_after_fifty(tmp_path: Path) -> None:
    with running(publish(tmp_path), bake=0, keepalive=60) as server:
        first = Pin("colours", 3, Bundle.open(tmp_path / "models/colours/bundle").digest)
        second = add_version(tmp_path, 4, steepness=2.0)
        stop = Event()

        def ask() -> int:
            answered = 0
            with requests.Session() as session:
                while not stop.is_set():
                    response = session.post(f"{server.url}/predict", data=RED, timeout=TIMEOUT)
                    version = {3: first, 4: second}[int(response.headers["X-Model-Version"])]
                    assert response.json()["model"] == version.identity
                    answered += 1
            return answered

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(ask) for _ in range(CLIENTS)]
            try:
                for pin in 10 * (second, first):
                    pin_and_await(server, pin)
                    time.sleep(0.2)
            finally:
                stop.set()
            assert sum(client.result() for client in clients) > 1000
        memory = []
        for number in range(1, 51):
            pin_and_await(server, second if number % 2 else first)
            if number in (5, 50):
                time.sleep(1)
                memory.append(server.pss)
        assert memory[1] <= 1.05 * memory[0]
