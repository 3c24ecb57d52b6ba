"""Clients of the proxy, each with its own address, and checks of the responses."""

from http import HTTPStatus
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.serving.bundles import COLOURS, one_colour_png

RED = one_colour_png(COLOURS["red"])


class FromAddress(HTTPAdapter):
    """Connects from one of the loopback addresses, so that the proxy sees different clients."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (requests' own)
        super().init_poolmanager(*arguments, **named, source_address=(self.address, 0))


def client(address: str = "127.0.0.1") -> requests.Session:
    """A session, which keeps its connection."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, FromAddress(address))
    return session


def request(
    url: str, data: bytes | None = None, address: str = "127.0.0.1", **headers: str
) -> requests.Response:
    """Sends one request: POST if there are data, otherwise GET."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client(address) as session:
        return session.request("POST" if data else "GET", url, data=data, headers=named, timeout=120)


def check_problem(response: requests.Response, status: int, code: str) -> None:
    """Asserts that an error has the model server's form, also if nginx produced it."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert response.headers["Cache-Control"] == "no-store"
    document = response.json()
    assert document.pop("detail").endswith(".")
    # Newer Python versions have other names for some statuses.
    assert document.pop("title") in (HTTPStatus(status).phrase, "Content Too Large", "URI Too Long")
    assert document == {
        "type": f"/docs#{code}",
        "status": status,
        "code": code,
        "request_id": response.headers["X-Request-Id"],
    }


def from_nginx(response: requests.Response) -> bool:
    """Whether the response is nginx's own: those of the model server have a digest."""
    return "X-Model-Digest" not in response.headers
