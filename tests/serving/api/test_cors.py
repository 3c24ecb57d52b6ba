"""CORS: the headers for pages of other origins, and their effect in a real browser."""

import hashlib
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.serving.browser import Page, chromium
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import Server, publish, running
from tests.serving.wire import RawResponse, ask, head, post

RED = one_colour_png(COLOURS["red"])
KEY = "a-key-of-the-tests"
OURS, OTHERS = "https://app.example", "http://localhost:3000"
ALLOW, EXPOSE = "access-control-allow-origin", "access-control-expose-headers"
PREFLIGHT = (
    "Access-Control-Request-Method: POST",
    "Access-Control-Request-Headers: authorization,content-type,traceparent,x-api-key",
)
UNLISTED_ORIGINS = (
    "null", "https://app.example.evil.example", "https://evil.example", "http://app.example", "https://APP.example",
    "https://app.example:8443", "https://app.example/", "https://app.example, https://evil.example", "*", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for two origins, with a key and a limit."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    folder = publish(tmp_path_factory.mktemp("shared"))
    with running(
        folder, cors_origins=f"{OURS}, {OTHERS}", api_keys=digest, rate_limit="30/day", max_body_mb=1
    ) as started:
        yield started


def values_of(response: RawResponse, name: str) -> set[str]:
    return {part.strip().lower() for part in response.headers.get(name, "").split(",") if part}


def preflight(server: Server, origin: str, path: str = "/predict") -> RawResponse:
    return ask(server, head("OPTIONS", path, f"Origin: {origin}", *PREFLIGHT))


@pytest.mark.parametrize("origin", [OURS, OTHERS])
@pytest.mark.parametrize(
    "path", ["/predict", "/inference", "/v2/models/colours/infer", "/invocations", "/metrics"]
)
def test_preflight_asks_for_no_key(shared: Server, origin: str, path: str) -> None:
    response = preflight(shared, origin, path)
    assert (response.status, response.body) == (200, b"")
    assert response.headers[ALLOW] == origin
    assert values_of(response, "access-control-allow-headers") >= {
        *("x-api-key", "authorization", "content-type", "traceparent"),
    }
    assert "post" in values_of(response, "access-control-allow-methods")
    assert int(response.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in response.headers


def test_preflights_are_not_counted(shared: Server) -> None:
    assert {preflight(shared, OURS).status for _ in range(50)} == {200}
    assert ask(shared, post("/predict", RED, f"Origin: {OURS}", f"X-API-Key: {KEY}")).status == 200


@pytest.mark.parametrize("origin", UNLISTED_ORIGINS)
def test_other_origins_get_no_cors_headers(shared: Server, origin: str) -> None:
    for response in (
        preflight(shared, origin),
        ask(shared, head("GET", "/version", f"Origin: {origin}")),
        ask(shared, post("/predict", RED, f"Origin: {origin}")),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert values_of(response, "vary") == {"accept", "origin"}


def test_exposed_headers(shared: Server) -> None:
    response = ask(shared, post("/predict", RED, f"Origin: {OURS}", f"X-API-Key: {KEY}"))
    assert (response.status, response.headers[ALLOW]) == (200, OURS)
    assert values_of(response, EXPOSE) >= {
        *("x-model-name", "x-model-version", "x-model-digest", "x-request-id", "retry-after"),
        "traceresponse",
    }
    assert values_of(response, "vary") == {"accept", "origin"}
    for path in ("/", "/docs", "/livez", "/static/page.js"):
        assert ask(shared, head("GET", path, f"Origin: {OURS}")).headers[ALLOW] == OURS


def test_errors_can_be_read_too(shared: Server) -> None:
    def code(request: bytes) -> str:
        response = ask(shared, request)
        assert (response.headers[ALLOW], "retry-after" in values_of(response, EXPOSE)) == (OURS, True)
        return str(response.json["code"])

    good = (f"Origin: {OURS}", f"X-API-Key: {KEY}")
    assert code(post("/predict", RED, good[0])) == "api_key_missing"
    assert code(head("POST", "/predict", *good, "Content-Length: 2000000")) == "body_too_large"
    assert code(post("/predict", b"?", *good)) == "image_unrecognised"
    assert code(head("GET", "/nowhere", *good)) == "route_unknown"
    assert code(head("DELETE", "/predict", *good)) == "method_not_allowed"
    while ask(shared, post("/predict", RED, *good)).status == 200:
        pass
    assert code(post("/predict", RED, *good)) == "rate_limited"


def test_any_origin(tmp_path: Path) -> None:
    with running(publish(tmp_path), cors_origins="*") as server:
        for response in (
            preflight(server, "https://anybody.example"),
            ask(server, post("/predict", RED, "Origin: https://anybody.example", "Cookie: a=b")),
            # Not a valid HTTP request.
            ask(server, b"NONSENSE\r\n\r\n"),
        ):
            assert response.headers[ALLOW] == "*"
            assert "access-control-allow-credentials" not in response.headers
        assert ALLOW not in preflight(server, "null").headers


def test_a_single_origin(tmp_path: Path) -> None:
    with running(publish(tmp_path), cors_origins=OURS) as server:
        assert ask(server, b"NONSENSE\r\n\r\n").headers[ALLOW] == OURS
        assert ALLOW not in ask(server, head("GET", "/livez")).headers


def test_without_origins_there_are_no_cors_headers(server: Server) -> None:
    for response in (preflight(server, OURS), ask(server, post("/predict", RED, f"Origin: {OURS}"))):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert values_of(response, "vary") == {"accept"}


FETCH = """
const [url, key, image, done] = arguments;
const body = Uint8Array.from(atob(image), c => c.charCodeAt(0));
fetch(url, {method: "POST", body, headers: {"X-API-Key": key, "Content-Type": "image/png"}})
  .then(async response => [
    response.status, response.headers.get("X-Model-Name"), (await response.json()).code ?? "",
  ])
  .catch(error => [0, null, error.name])
  .then(done);
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without logging."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def other_server(folder: Path) -> Iterator[str]:
    """The origin of another web server with a page."""
    (folder / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_fetch_from_a_page_of_another_origin(tmp_path: Path) -> None:
    page, digest = tmp_path / "page", hashlib.sha256(KEY.encode()).hexdigest()
    page.mkdir()
    with (
        other_server(page) as origin,
        other_server(page) as unlisted,
        running(publish(tmp_path), cors_origins=origin, api_keys=digest) as server,
        chromium() as browser,
    ):

        def fetch_from(origin: str, key: str) -> list[object]:
            Page(browser, origin).open("/index.html")
            image = b64encode(RED).decode()
            return list(browser.execute_async_script(FETCH, f"{server.url}/predict", key, image))

        assert fetch_from(origin, KEY) == [200, "colours", ""]
        # The page can read the server's own error.
        assert fetch_from(origin, "guessed") == [401, "colours", "api_key_unknown"]
        # Another port is another origin.
        assert fetch_from(unlisted, KEY) == [0, None, "TypeError"]
