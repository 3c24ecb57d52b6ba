"""The proxy passes on what is for the public, as it came, and tells the server who asks."""

import http.client
import json
import re
import time
from typing import Any

import pytest

from tests.deploy.composition.client import RED, ask, by_the_proxy, check_problem, client
from tests.deploy.composition.document import DEPLOY
from tests.deploy.composition.names import names
from tests.deploy.composition.processes import TIMEOUT, Composition
from tests.deploy.composition.services import another_proxy, await_proxy
from tests.serving.registries import write_self_signed_certificate
from tests.serving.servers import free_port


def test_the_page_and_its_headers_pass_unchanged(made: Composition) -> None:
    direct, proxied = (ask(url + "/", Accept="text/html") for url in (made.model, made.url))
    # The page shows how to ask it: at the address that the client has asked.
    assert made.url in proxied.text
    assert direct.text.replace(made.model, made.url) == proxied.text
    own = {"Server", "Date", "Connection", "X-Request-Id", "Content-Length"}
    passed = [{k: v for k, v in answer.headers.items() if k not in own} for answer in (direct, proxied)]
    assert passed[0] == passed[1]
    assert "Content-Security-Policy" in passed[0]


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "//metrics", "/metrics?x=1", "/%6detrics", "/x/../metrics", "/./metrics//"],
)
def test_metrics_are_shielded(made: Composition, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", made.ports["proxy"], timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    document = json.load(response)
    connection.close()
    assert (response.status, document["code"]) == (404, "route_unknown")
    assert response.headers["X-Model-Digest"] is None


def test_metrics_are_there_for_the_network_inside(made: Composition) -> None:
    assert "goldfish" in ask(made.model + "/metrics").text


def test_a_clients_own_x_forwarded_for_counts_for_nothing(made: Composition) -> None:
    url = made.url + "/inference"
    limit = int(made.services["model"]["environment"]["GOLDFISH_RATE_LIMIT"].partition("/")[0])
    with client("127.0.0.2") as session:
        # As another one each time; without the proxy's care each would have a limit of its own.
        for number in range(2 * limit):
            response = session.post(url, RED, headers={"X-Forwarded-For": f"203.0.{number}.1"}, timeout=30)
            if response.status_code == 429:
                break
    assert number >= limit
    check_problem(response, 429, "rate_limited")
    assert not by_the_proxy(response)
    # Who really is another one has a limit of its own, whoever it says it is.
    assert ask(url, RED, "127.0.0.3", X_Forwarded_For="127.0.0.2").ok


def logged(made: Composition, name: str, request_id: str) -> dict[str, Any]:
    """The line of a request, which nginx writes when the client has its answer already."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for line in made.log(name).splitlines():
            if f'"{request_id}"' in line:
                document: dict[str, Any] = json.loads(line)
                return document
        time.sleep(0.01)
    raise AssertionError(f"{name} does not log {request_id}")


def test_no_address_and_no_query_is_logged(made: Composition) -> None:
    spoofed, secret = "203.0.113.7", "a-secret-of-the-client"
    url = f"{made.url}/docs?q={secret}"
    answer = ask(url, None, "127.0.0.4", X_Forwarded_For=spoofed, X_Request_Id="a-known-request")
    assert answer.headers["X-Request-Id"] == "a-known-request"
    for name in ("proxy", "model"):
        line = logged(made, name, "a-known-request")
        assert (line["method"], line["status"]) == ("GET", 200)
        for hidden in ("127.0.0.4", spoofed, secret):
            assert hidden not in made.log(name)


def test_tls_as_the_configuration_shows_it(made: Composition) -> None:
    port, certificate = free_port(), write_self_signed_certificate(made.folder / "certificate.pem")
    text, lines = re.subn(r"^ +#   (?=\w+ .*;$)", "", (DEPLOY / "nginx.conf").read_text(), flags=re.MULTILINE)
    assert lines == 4
    text = text.replace("listen 8443", f"listen 127.0.0.1:{port}")
    text = re.sub(r"/run/secrets/certificate(_key)?;", f"{certificate};", text)
    with another_proxy(made, text), client() as session:
        url, html = f"https://127.0.0.1:{port}", {"Accept": "text/html"}
        page = session.get(url, headers=html, verify=str(certificate), timeout=30)
    # The page shows how to ask it: the server has been told the scheme.
    assert url in page.text


def test_a_model_server_with_another_address_is_found(made: Composition) -> None:
    upstream = f"model.test:{made.ports['model']}"
    # Nobody listens there.
    with (
        names("127.0.0.8") as server,
        another_proxy(made, UPSTREAM=upstream, RESOLVER=f"127.0.0.1:{server.port}"),
    ):
        check_problem(ask(made.url + "/livez"), 503, "not_ready")
        server.address = "127.0.0.1"
        await_proxy(made)
        assert ask(made.url + "/readyz").ok
