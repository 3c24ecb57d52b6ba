"""Access control: API keys and a rate limit, both off until a setting turns them on."""

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from serving.api.access_control import AccessControl
from serving.api.errors import RateLimited
from serving.config import SettingsInvalid
from serving.workers.shared_folder import SharedFolder
from tests.serving.api.test_routes import check_problem
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import Server, publish, running
from tests.serving.wire import RawResponse, ask, head, post, read

RED = one_colour_png(COLOURS["red"])
LIMIT = 3
# Windows are aligned to minutes, hours and days; a day hardly ever ends during a test.
DAILY = f"{LIMIT}/day"
KEYS = ["first-key-of-the-tests", "second-key-of-the-tests"]
DIGESTS = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]


def status(server: Server, *lines: str) -> int:
    """The status of one request with additional headers, on a new connection."""
    return ask(server, post("/inference", RED, *lines)).status


def test_rate_limit(tmp_path: Path) -> None:
    with running(publish(tmp_path), rate_limit=f"{LIMIT}/hour") as server:
        for path in ("/inference", "/predict", "/inference"):
            assert server.post(path, data=RED).status_code == 200
        for path in ("/inference", "/predict"):
            response = server.post(path, data=RED)
            assert f"{LIMIT}/hour" in check_problem(response, 429, "rate_limited")
            assert re.fullmatch(r"\d+", response.headers["Retry-After"])
            assert 1 <= int(response.headers["Retry-After"]) <= 3600
        # Only predictions are counted.
        for path in ("/", "/docs", "/openapi.json", "/livez", "/readyz", "/version", "/model", "/metrics"):
            assert {server.get(path).status_code for _ in range(LIMIT + 1)} == {200}
        assert server.post("/nowhere").status_code == 404


def test_refusals_count_too(tmp_path: Path) -> None:
    with running(publish(tmp_path), rate_limit=DAILY) as server:
        responses = [server.post("/inference", data=b"?").status_code for _ in range(LIMIT + 2)]
        assert responses == [415] * LIMIT + [429] * 2


def test_without_proxies_a_client_cannot_choose_its_address(tmp_path: Path) -> None:
    with running(publish(tmp_path), rate_limit=DAILY) as server:
        headers = [
            *("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "Forwarded: for=192.0.2.3"),
            *("X-Real-IP: 192.0.2.4", "X-Forwarded-For: 192.0.2.5", "Client-IP: 192.0.2.6"),
        ]
        assert [status(server, line) for line in headers] == [200] * LIMIT + [429] * 3


# Headers of requests through one proxy, which adds the last address; all come from one client.
ONE_CLIENT = [
    ["X-Forwarded-For: 192.0.2.1"],
    ["X-Forwarded-For: 203.0.113.7, 192.0.2.1"],
    ["X-Forwarded-For: 203.0.113.8,203.0.113.9 ,192.0.2.1"],
    ["X-Forwarded-For: 203.0.113.10", "X-Forwarded-For: 192.0.2.1"],
    ["X-Forwarded-For: not an address, 192.0.2.1"],
    ["X-Forwarded-For: , 192.0.2.1", "X-Real-IP: 203.0.113.11"],
]


def test_behind_a_proxy_the_last_address_counts(tmp_path: Path) -> None:
    with running(publish(tmp_path), rate_limit=DAILY, proxy_hops=1) as server:
        assert [status(server, *lines) for lines in ONE_CLIENT] == [200] * LIMIT + [429] * LIMIT
        # Another client, even if it claims the address of the first.
        assert status(server, "X-Forwarded-For: 192.0.2.1, 192.0.2.2") == 200
        # One /64 network counts as one client.
        networks = [status(server, f"X-Forwarded-For: 2001:db8::{number}") for number in range(LIMIT + 1)]
        assert networks == [200] * LIMIT + [429]
        assert status(server, "X-Forwarded-For: 2001:db8:0:1::1") == 200


# Two addresses, and whether they count as one client.
ADDRESSES = [
    ("192.0.2.1", "192.0.2.1", True),
    ("192.0.2.1", "192.0.2.2", False),
    ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
    ("2001:db8::1", "2001:DB8:0:0:1:0:0:1", True),
    ("2001:db8::1", "2001:db8:0:1::1", False),
    ("fe80::1%eth0", "fe80::2%eth0", True),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.1", True),
    ("::ffff:192.0.2.1", "::ffff:c000:201", True),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    # All clients without a valid address share one limit.
    ("unknown", "", True),
    ("192.0.2.1:80", "192.0.2.1:4711", True),
    ("[2001:db8::1]:80", "2001:db8::2", True),
    ("::ffff:192.0.2.1", "192.0.2.1", True),
    ("_hidden", "192.0.2.1:x:y", True),
    ("unknown", "192.0.2.1", False),
]


def request_from(address: str) -> Request:
    """A request from an address."""
    return Request(EnvironBuilder(environ_base={"REMOTE_ADDR": address}).get_environ())


@pytest.mark.parametrize(("first", "second", "same"), ADDRESSES)
def test_what_one_client_is(tmp_path: Path, first: str, second: str, same: bool) -> None:
    access = AccessControl((), "1/day", SharedFolder.create(tmp_path))
    access.check(request_from(first))
    if same:
        with pytest.raises(RateLimited):
            access.check(request_from(second))
    else:
        access.check(request_from(second))


def test_without_a_limit_nobody_is_counted(tmp_path: Path) -> None:
    folder = SharedFolder.create(tmp_path)
    access = AccessControl((), "", folder)
    for _ in range(1000):
        access.check(request_from("192.0.2.1"))
    assert not access.requires_key
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize("text", ["3/day", "3 per day", "3/1 day", "100/day; 3/month", "3/month,100/day"])
def test_ways_to_write_a_limit(tmp_path: Path, text: str) -> None:
    access = AccessControl((), text, SharedFolder.create(tmp_path))
    for _ in range(LIMIT):
        access.check(request_from("192.0.2.1"))
    with pytest.raises(RateLimited, match=text):
        access.check(request_from("192.0.2.1"))


@pytest.mark.parametrize(
    "text",
    [
        *("nonsense", "3", "/", "3/", "/minute", "3/fortnight", "-1/minute", "3.5/minute", "minute/3"),
        *("0/minute", "3/minute; 0/hour", "3/minute; nonsense"),
    ],
)
def test_other_limits_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"GOLDFISH_RATE_LIMIT is .*60/minute"):
        AccessControl((), text, SharedFolder.create(tmp_path))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two keys."""
    with running(publish(tmp_path_factory.mktemp("guarded")), api_keys=",".join(DIGESTS)) as started:
        yield started


RIGHT = {
    "X-API-Key": f"X-API-Key: {KEYS[0]}",
    "the other key": f"X-API-Key: {KEYS[1]}",
    "Bearer": f"Authorization: Bearer {KEYS[0]}",
    "bearer, with spaces": f"Authorization:  bearer   {KEYS[1]} ",
}
WRONG = {
    "nothing": ("", "api_key_missing"),
    "an empty key": ("X-API-Key:", "api_key_missing"),
    "an empty Bearer": ("Authorization: Bearer", "api_key_missing"),
    "another scheme": (f"Authorization: Basic {KEYS[0]}", "api_key_missing"),
    "no scheme": (f"Authorization: {KEYS[0]}", "api_key_missing"),
    "another header": (f"API-Key: {KEYS[0]}", "api_key_missing"),
    "a cookie": (f"Cookie: X-API-Key={KEYS[0]}", "api_key_missing"),
    "another key": ("X-API-Key: guessed", "api_key_unknown"),
    "another Bearer": ("Authorization: Bearer guessed", "api_key_unknown"),
    "the digest": (f"X-API-Key: {DIGESTS[0]}", "api_key_unknown"),
    "in capitals": (f"X-API-Key: {KEYS[0].upper()}", "api_key_unknown"),
    "with more": (f"X-API-Key: {KEYS[0]}1", "api_key_unknown"),
    "both keys": (f"X-API-Key: {KEYS[0]},{KEYS[1]}", "api_key_unknown"),
    "not ASCII": ("X-API-Key: \xe4\xff\x80", "api_key_unknown"),
    "a long one": (f"X-API-Key: {'x' * 8000}", "api_key_unknown"),
}


@pytest.mark.parametrize("path", ["/inference", "/predict"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_key(guarded: Server, path: str, name: str) -> None:
    assert ask(guarded, post(path, RED, RIGHT[name])).status == 200


@pytest.mark.parametrize("path", ["/inference", "/predict?top=1"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_key(guarded: Server, path: str, name: str) -> None:
    line, code = WRONG[name]
    response = ask(guarded, post(path, RED, *([line] if line else [])))
    assert (response.status, response.json["code"]) == (401, code)
    assert response.headers["www-authenticate"] == "Bearer"
    assert "x-model-digest" in response.headers


def test_key_in_the_path_does_not_count(guarded: Server) -> None:
    response = guarded.post("/inference", params={"key": KEYS[0], "X-API-Key": KEYS[0]}, data=RED)
    check_problem(response, 401, "api_key_missing")


def test_other_routes_want_no_key(guarded: Server) -> None:
    for path in ("/", "/docs", "/openapi.json", "/livez", "/readyz", "/version", "/model", "/metrics"):
        assert guarded.get(path).status_code == 200


def test_server_without_keys_takes_any(server: Server) -> None:
    assert status(server, "X-API-Key: guessed", "Authorization: Bearer guessed") == 200


@pytest.mark.parametrize("line", ["X-API-Key: guessed", "Authorization: Bearer guessed", "X-Other: y"])
def test_connection_is_good_after_a_wrong_key_and_a_large_body(guarded: Server, line: str) -> None:
    with guarded.connect() as connection:
        for _ in range(2):
            connection.sendall(post("/inference", bytes(1_000_000), line))
            response = read(connection)
            assert (response.status, response.closed) == (401, False)
            connection.sendall(post("/inference", RED, RIGHT["X-API-Key"]))
            assert next(iter(read(connection).json)) == "red"


def test_key_is_checked_before_everything_else(guarded: Server) -> None:
    # A body that is too large, an invalid form, an invalid image.
    with guarded.connect() as connection:
        connection.sendall(head("POST", "/inference", "Content-Length: 60000000"))
        response = read(connection)
    assert (response.status, response.closed) == (401, True)
    for line in ("Content-Type: multipart/form-data", "Content-Type: image/png"):
        assert ask(guarded, post("/inference", b"?", line)).status == 401


def test_body_without_a_key_is_not_kept_in_memory(guarded: Server) -> None:
    with guarded.connect() as connection:
        connection.sendall(head("POST", "/inference", "Content-Length: 5000000") + bytes(4_000_000))
        # The server discards the body while it receives it.
        time.sleep(0.2)
        held = ask(guarded, head("GET", "/metrics")).body
        assert b"\ngoldfish_body_bytes 0.0\n" in held
        connection.sendall(bytes(1_000_000))
        assert read(connection).status == 401


def responses_with_keys(server: Server) -> Iterator[RawResponse]:
    """Responses to requests with keys in every place of a request."""
    for path in ("/inference", "/nowhere", f"/{KEYS[0]}"):
        for line in (*RIGHT.values(), *(line for line, _ in WRONG.values() if line)):
            yield ask(server, post(path, RED, line))
    yield ask(server, post(f"/predict?top={KEYS[0]}", RED, RIGHT["Bearer"]))
    for path in ("/metrics", "/version", "/docs", "/openapi.json", "/"):
        yield ask(server, head("GET", path, RIGHT["Bearer"]))


def test_key_is_never_in_responses_or_log(guarded: Server) -> None:
    texts = [f"{each.headers} {each.body.decode()}" for each in responses_with_keys(guarded)]
    texts.append((guarded.folder / "log").read_text())
    for secret in (*KEYS, *DIGESTS, "guessed"):
        assert not any(secret in text or secret.upper() in text for text in texts)


def test_limit_follows_the_key_where_there_are_keys(tmp_path: Path) -> None:
    with running(publish(tmp_path), api_keys=",".join(DIGESTS), rate_limit=DAILY) as server:
        first, second = RIGHT["X-API-Key"], RIGHT["the other key"]
        # Requests with wrong keys count against their address, not against valid keys.
        assert [status(server, "X-API-Key: guessed") for _ in range(LIMIT + 1)] == [401] * LIMIT + [429]
        assert [status(server, first) for _ in range(LIMIT + 1)] == [200] * LIMIT + [429]
        assert status(server, RIGHT["Bearer"]) == 429
        assert status(server, second) == 200
