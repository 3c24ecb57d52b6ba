"""Clients of the proxy, each with an address of its own, and what they may hear."""

from http import HTTPStatus
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.serving.bundles import COLOURS, one_colour_png

RED = one_colour_png(COLOURS["red"])


class FromAddress(HTTPAdapter):
    """Asks from one of this machine's many loopback addresses, as another client."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  (requests' own)
        super().init_poolmanager(*arguments, **named, source_address=(self.address, 0))


def client(address: str = "127.0.0.1") -> requests.Session:
    """Keeps its connection."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, FromAddress(address))
    return session


def ask(url: str, data: bytes | None = None, address: str = "127.0.0.1", **headers: str) -> requests.Response:
    """Asks once, by POST if there is something to send."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client(address) as session:
        return session.request("POST" if data else "GET", url, data=data, headers=named, timeout=30)


def check_problem(response: requests.Response, status: int, code: str) -> None:
    """Asserts that an error is one as the model server has them, whoever made it."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert response.headers["Cache-Control"] == "no-store"
    document = response.json()
    assert document.pop("detail").endswith(".")
    # Python has named some statuses anew since.
    assert document.pop("title") in (HTTPStatus(status).phrase, "Content Too Large", "URI Too Long")
    assert document == {
        "type": f"/docs#{code}",
        "status": status,
        "code": code,
        "request_id": response.headers["X-Request-Id"],
    }


def by_the_proxy(response: requests.Response) -> bool:
    """Did nginx answer itself? The model server signs what it says."""
    return "X-Model-Digest" not in response.headers
