"""Faulty registry servers: what is retried, and that no response is read without a limit."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.download import pull_bundle
from serving.artifact.manifest import GRAPH, MANIFEST
from serving.artifact.registry import server as registry_client
from serving.artifact.registry.errors import RegistryUnavailable, VersionDamaged
from tests.serving.registries import (
    Intercept,
    RegisteredBundle,
    RelayRequest,
    expect_no_leftovers,
    relay,
    trickle,
)


def stalled(request: RelayRequest) -> bool:
    """Does not respond before the timeout."""
    time.sleep(1.0)
    return True


def dropped(_: RelayRequest) -> bool:
    """Closes the connection."""
    return True


def endless(request: RelayRequest, headers: Mapping[str, str] = {}) -> bool:
    """Sends until the client closes the connection."""
    request.send_response(200)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 2**16)


def cut(request: RelayRequest) -> bool:
    """Sends less than its Content-Length."""
    request.respond(200, b"{}", length=100)
    return True


def busy(request: RelayRequest) -> bool:
    request.respond(503, b'{"error_code": "X", "message": "come back\\nlater"}')
    return True


def broken(request: RelayRequest) -> bool:
    request.respond(500, b"<html>oops")
    return True


def login_page(request: RelayRequest) -> bool:
    request.respond(200, b"<html>Please log in")
    return True


def not_found(request: RelayRequest) -> bool:
    request.respond(404)
    return True


def wrong_types(request: RelayRequest) -> bool:
    request.respond(200, b'{"model_versions": [{"version": null}]}')
    return True


FAULTS = [
    (stalled, 3, "timed out, 3 times"),
    (dropped, 3, "closed connection without response, 3 times"),
    (cut, 3, "2 bytes came of 100, 3 times"),
    (busy, 3, "it responds with 503: come back later, 3 times"),
    (trickle, 3, r"bytes came in \d+ seconds, 3 times"),
    (broken, 1, "it responds with 500: <html>oops"),
    (login_page, 1, "its response is not MLflow's"),
    (wrong_types, 1, "its response is not MLflow's"),
    (endless, 1, "its response is not MLflow's"),
    (not_found, 1, "a route of MLflow"),
]


@pytest.mark.parametrize(("intercept", "times", "reason"), FAULTS, ids=[case[0].__name__ for case in FAULTS])
@pytest.mark.usefixtures("short_timeouts")
def test_a_server_that_does_not_answer_well_is_given_up(
    registry_server: RegisteredBundle,
    to: Path,
    monkeypatch: pytest.MonkeyPatch,
    intercept: Intercept,
    times: int,
    reason: str,
) -> None:
    monkeypatch.setattr(registry_client, "MIN_BYTES_PER_SECOND", 10**9)
    with (
        relay(registry_server.uri, intercept) as front,
        expect_no_leftovers(to),
        pytest.raises(RegistryUnavailable, match=reason),
    ):
        pull_bundle(registry_server.pin, front.uri, to)
    assert len(front.requested_paths) == times


@pytest.mark.parametrize("intercept", [stalled, dropped, cut, busy])
@pytest.mark.usefixtures("short_timeouts")
def test_what_goes_wrong_once_is_tried_again(
    registry_server: RegisteredBundle, to: Path, intercept: Intercept
) -> None:
    seen: set[str] = set()

    def once(request: RelayRequest) -> bool:
        if request.path in seen:
            return False
        seen.add(request.path)
        return intercept(request)

    with relay(registry_server.uri, once) as front:
        pull_bundle(registry_server.pin, front.uri, to)
    Bundle.open(to).verify(whole=False)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(10**12)}])
@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
def test_an_endless_file_is_not_read_to_its_end(
    registry_server: RegisteredBundle, to: Path, name: str, headers: dict[str, str]
) -> None:
    def intercept(request: RelayRequest) -> bool:
        return endless(request, headers) if request.path.endswith(name) else False

    with (
        relay(registry_server.uri, intercept) as front,
        expect_no_leftovers(to),
        pytest.raises(VersionDamaged, match=f"{name} has more than"),
    ):
        pull_bundle(registry_server.pin, front.uri, to)
    assert front.client_disconnected.wait(5)
    assert sum(path.endswith(name) for path in front.requested_paths) == 1
