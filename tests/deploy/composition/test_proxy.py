"""The proxy forwards public routes unchanged, and passes the client's address to the server."""

import http.client
import json
import re
import time
from typing import Any

import pytest

from tests.deploy.composition.client import RED, check_problem, client, from_nginx, request
from tests.deploy.composition.document import DEPLOY
from tests.deploy.composition.name_server import name_server
from tests.deploy.composition.processes import TIMEOUT, Composition
from tests.deploy.composition.services import await_proxy, replaced_proxy
from tests.serving.registries import write_self_signed_certificate
from tests.serving.servers import free_port


def test_the_page_and_its_headers_pass_unchanged(stack: Composition) -> None:
    direct, proxied = (request(url + "/", Accept="text/html") for url in (stack.model, stack.url))
    # The page shows commands with the address that the client used.
    assert stack.url in proxied.text
    assert direct.text.replace(stack.model, stack.url) == proxied.text
    own = {"Server", "Date", "Connection", "X-Request-Id", "Content-Length"}
    passed = [{k: v for k, v in answer.headers.items() if k not in own} for answer in (direct, proxied)]
    assert passed[0] == passed[1]
    assert "Content-Security-Policy" in passed[0]


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "//metrics", "/metrics?x=1", "/%6detrics", "/x/../metrics", "/./metrics//"],
)
def test_metrics_are_shielded(stack: Composition, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["proxy"], timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    document = json.load(response)
    connection.close()
    assert (response.status, document["code"]) == (404, "route_unknown")
    assert response.headers["X-Model-Digest"] is None


def test_metrics_are_there_for_the_network_inside(stack: Composition) -> None:
    assert "goldfish" in request(stack.model + "/metrics").text


def test_a_clients_own_x_forwarded_for_counts_for_nothing(stack: Composition) -> None:
    url = stack.url + "/inference"
    limit = int(stack.services["model"]["environment"]["GOLDFISH_RATE_LIMIT"].partition("/")[0])
    with client("127.0.0.2") as session:
        # A new address in each request; if the proxy trusted it, each would have its own limit.
        for number in range(2 * limit):
            response = session.post(url, RED, headers={"X-Forwarded-For": f"203.0.{number}.1"}, timeout=120)
            if response.status_code == 429:
                break
    assert number >= limit
    check_problem(response, 429, "rate_limited")
    assert not from_nginx(response)
    # A real other client has its own limit, whatever its header claims.
    assert request(url, RED, "127.0.0.3", X_Forwarded_For="127.0.0.2").ok


def logged(stack: Composition, name: str, request_id: str) -> dict[str, Any]:
    """The log line of a request; nginx writes it after the response was sent."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for line in stack.log(name).splitlines():
            if f'"{request_id}"' in line:
                document: dict[str, Any] = json.loads(line)
                return document
        time.sleep(0.01)
    raise AssertionError(f"{name} does not log {request_id}")


def test_no_address_and_no_query_is_logged(stack: Composition) -> None:
    spoofed, secret = "203.0.113.7", "a-secret-of-the-client"
    url = f"{stack.url}/docs?q={secret}"
    answer = request(url, None, "127.0.0.4", X_Forwarded_For=spoofed, X_Request_Id="a-known-request")
    assert answer.headers["X-Request-Id"] == "a-known-request"
    for name in ("proxy", "model"):
        line = logged(stack, name, "a-known-request")
        assert (line["method"], line["status"]) == ("GET", 200)
        for hidden in ("127.0.0.4", spoofed, secret):
            assert hidden not in stack.log(name)


def test_tls_as_the_configuration_shows_it(stack: Composition) -> None:
    port, certificate = free_port(), write_self_signed_certificate(stack.folder / "certificate.pem")
    text, lines = re.subn(r"^ +#   (?=\w+ .*;$)", "", (DEPLOY / "nginx.conf").read_text(), flags=re.MULTILINE)
    assert lines == 4
    text = text.replace("listen 8443", f"listen 127.0.0.1:{port}")
    text = re.sub(r"/run/secrets/certificate(_key)?;", f"{certificate};", text)
    with replaced_proxy(stack, text), client() as session:
        url, html = f"https://127.0.0.1:{port}", {"Accept": "text/html"}
        page = session.get(url, headers=html, verify=str(certificate), timeout=120)
    # The page shows commands with https: the proxy passes the scheme to the server.
    assert url in page.text


def test_a_model_server_with_another_address_is_found(stack: Composition) -> None:
    upstream = f"model.test:{stack.ports['model']}"
    # No server listens at the first address.
    with (
        name_server("127.0.0.8") as server,
        replaced_proxy(stack, UPSTREAM=upstream, RESOLVER=f"127.0.0.1:{server.port}"),
    ):
        check_problem(request(stack.url + "/livez"), 503, "not_ready")
        server.address = "127.0.0.1"
        await_proxy(stack)
        assert request(stack.url + "/readyz").ok
