"""Plain predictions are answered without Flask, and nobody can tell."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from serving.api.direct_predictions import DirectPredictions
from serving.api.service import Service
from serving.artifact.release import find_release
from serving.config import Settings
from serving.server.drain import Drain
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.registries import UNUSED_ADDRESS
from tests.serving.servers import Server, publish

RED, BLUE = (one_colour_png(COLOURS[name]) for name in ("red", "blue"))
# What differs between two responses to the same request: headers, and members of the document.
VARYING_HEADERS = {"Content-Length", "Date", "Server-Timing", "X-Request-Id", "traceresponse"}
VARYING_MEMBERS = {"milliseconds", "request_id"}
# The status that tells that a request was left to Flask.
LEFT = 418
TRACED = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Request-Id": "from-the-client"}
REQUESTS: dict[str, dict[str, Any]] = {
    "an image": {"data": RED},
    "an image in a form": {"files": {"image": RED}},
    "two images": {"files": [("image", RED), ("image", BLUE)]},
    "a traced image": {"data": RED, "headers": TRACED},
    "a traced error": {"data": b"no image", "headers": TRACED},
    "no image": {"data": b"no image"},
    "nothing": {"data": b""},
    "a document without images": {"json": {"images": []}},
    "an unknown coding": {"data": RED, "headers": {"Content-Encoding": "secret"}},
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("path", ["/predict", "/inference"])
def test_flask_gives_the_same_response(server: Server, path: str, asked: dict[str, Any]) -> None:
    # Flask answers what has a query.
    direct, by_flask = server.post(path, **asked), server.post(f"{path}?unused=1", **asked)
    assert direct.status_code == by_flask.status_code
    assert direct.headers.keys() == by_flask.headers.keys()
    for name in direct.headers.keys() - VARYING_HEADERS:
        assert direct.headers[name] == by_flask.headers[name]
    document, expected = direct.json(), by_flask.json()
    assert document.keys() == expected.keys()
    for member in document.keys() - VARYING_MEMBERS:
        assert document[member] == expected[member]


# What a plain server leaves to Flask, and settings with which all is left to it.
OTHER_REQUESTS = [("GET", "/predict"), ("POST", "/predict?top=1"), ("POST", "/v2/models/colours/infer")]
OTHER_SERVERS: dict[str, dict[str, Any]] = {
    "CORS": {"cors_origins": ("https://example.org",)},
    "a cache": {"cache_mb": 1},
    "spans": {"otlp_endpoint": UNUSED_ADDRESS},
}


def test_plain_requests_do_not_reach_flask(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    for path in ("/predict", "/inference"):
        assert client.post(path, data=RED).status_code == 200
        # Flask responds to all errors.
        assert client.post(path, data=b"no image").status_code == LEFT


@pytest.mark.parametrize(("method", "path"), OTHER_REQUESTS)
def test_other_requests_do(tmp_path: Path, method: str, path: str) -> None:
    assert client_of(tmp_path).open(path, method=method, data=RED).status_code == LEFT


@pytest.mark.parametrize("settings", OTHER_SERVERS.values(), ids=OTHER_SERVERS)
def test_all_requests_of_other_servers_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert client_of(tmp_path, **settings).post("/predict", data=RED).status_code == LEFT


def test_nothing_is_answered_on_the_port_of_the_metrics(tmp_path: Path) -> None:
    client = client_of(tmp_path, metrics_port=9000)
    assert client.post("/predict", data=RED).status_code == 200
    assert client.post("/predict", data=RED, base_url="http://localhost:9000").status_code == LEFT


def client_of(folder: Path, **settings: Any) -> Client:  # noqa: ANN401  (those of the server)
    """A client of a server in which Flask responds with the status `LEFT` to all that is left to it."""
    publish(folder)
    chosen = Settings(models_folder=folder / "models", pins=folder / "pins", **settings)
    service = Service.start(chosen, [find_release(chosen, "colours")], 1, Drain())
    return Client(DirectPredictions(service, _left))


def _left(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response(f"{LEFT} I'm a teapot", [])
    return []
