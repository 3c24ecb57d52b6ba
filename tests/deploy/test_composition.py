"""The composition works: register, pin, pull, serve and ask through the proxy, with real processes."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import psutil
import psycopg
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.deploy.composition import (
    PASSWORD,
    PATIENCE,
    Composition,
    await_proxy,
    composed,
    start_model,
    start_proxy,
)
from tests.deploy.names import names
from tests.serving.bundles import COLOURS, filled
from tests.serving.registries import Registered, register
from tests.serving.wire import head, read

RED = filled(COLOURS["red"])
MODEL = "digits"
MIB = 2**20


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
    session.mount("http://", FromAddress(address))
    return session


def ask(url: str, data: bytes | None = None, address: str = "127.0.0.1", **headers: str) -> requests.Response:
    """Asks once, by POST if there is something to send."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client(address) as session:
        return session.request("POST" if data else "GET", url, data=data, headers=named, timeout=30)


@pytest.fixture(scope="module")
def made() -> Iterator[Composition]:
    """The composition, with a pinned model."""
    with composed() as made:
        pin(made, register(made.registry, made.folder, MODEL))
        start_model(made)
        yield made


def pin(made: Composition, release: Registered) -> None:
    (made.folder / f"pins/{MODEL}.json").write_bytes(release.pin.to_bytes())


def pinned(made: Composition) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((made.folder / f"pins/{MODEL}.json").read_bytes())
    return document


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


def test_what_was_registered_is_served(made: Composition) -> None:
    response = ask(made.url + "/predict", RED)
    assert response.status_code == 200
    assert response.headers["X-Model-Digest"] == pinned(made)["digest"]
    assert response.headers["Server"] == "nginx"
    (scores,) = response.json()["predictions"]
    assert scores[0]["label"] == "red"
    assert scores[0]["score"] > 0.9
    # It had no bundle: it came from MLflow, through whose server the files went.
    assert re.search(
        r"GET /api/2.0/mlflow-artifacts/artifacts/\S+/serving/model.onnx .* 200", made.log("mlflow")
    )
    assert list((made.own("model") / "tmp/models").rglob("model.onnx"))


def test_tables_are_in_postgresql(made: Composition) -> None:
    with psycopg.connect(address(made, "mlflow", PASSWORD)) as connection:
        rows = connection.execute("SELECT name, version FROM model_versions").fetchall()
    assert rows == [(MODEL, 1)]
    assert not list(made.folder.rglob("*.db"))


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
    end = time.monotonic() + PATIENCE
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


def test_bodies_that_are_too_large(made: Composition) -> None:
    with client() as session:
        refused, refused_at_once, taken = (
            session.post(made.url + "/predict", data, timeout=30)
            for data in (bytes(24 * MIB + 1), bytes(25 * MIB + 1), RED)
        )
    check_problem(refused, 413, "body_too_large")
    assert not by_the_proxy(refused)
    check_problem(refused_at_once, 413, "body_too_large")
    assert by_the_proxy(refused_at_once)
    assert taken.ok


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "request_malformed"),
        (head("TRACE", "/"), 405, "method_not_allowed"),
        (head("GET", "/" + "x" * 20_000), 414, "request_line_too_long"),
        (head("GET", "/", "X-Long: " + "x" * 20_000), 431, "head_too_large"),
        (head("POST", "/predict", "Transfer-Encoding: gzip"), 501, "coding_unknown"),
    ],
    ids=["no HTTP", "TRACE", "long line", "large head", "coding"],
)
def test_what_is_refused_at_once(made: Composition, request_: bytes, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", made.ports["proxy"]), 10) as connection:
        connection.sendall(request_)
        answer = read(connection)
    assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"


def under_way(made: Composition, address: str) -> socket.socket:
    """A request whose head nginx has taken and whose body does not come."""
    connection = socket.create_connection(("127.0.0.1", made.ports["proxy"]), 10, (address, 0))
    connection.sendall(head("POST", "/predict", f"Content-Length: {len(RED)}", "Expect: 100-continue"))
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def test_slow_bodies_cost_the_server_nothing(made: Composition) -> None:
    with under_way(made, "127.0.0.5") as connection:
        connection.sendall(RED[:10])
        # nginx answers this by itself, and after it has read what came before.
        assert ask(made.url + "/metrics").status_code == 404
        (worker,) = psutil.Process(made.processes["proxy"].pid).children()
        peers = [open_one.raddr.port for open_one in worker.net_connections("tcp") if open_one.raddr]
        assert connection.getsockname()[1] in peers
        assert made.ports["model"] not in peers
        connection.sendall(RED[10:])
        assert read(connection).status == 200


def test_one_client_cannot_take_all_connections(made: Composition) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(under_way(made, "127.0.0.6"))
        one_more = ask(made.url + "/livez", address="127.0.0.6")
        check_problem(one_more, 429, "rate_limited")
        assert one_more.headers["Retry-After"] == "1"
        assert ask(made.url + "/livez", address="127.0.0.7").ok


def test_mlflow_answers_to_its_names_alone(made: Composition) -> None:
    url = made.registry + "/api/2.0/mlflow/registered-models/search"
    assert ask(url).ok
    stranger = ask(url, Host="registry.example.org")
    assert (stranger.status_code, "Invalid Host header" in stranger.text) == (403, True)


@pytest.mark.parametrize(
    "source", ["file:///etc", "/etc", "s3://somebodys/bucket", "mlflow-artifacts:/1", "models:/digits/1"]
)
def test_mlflow_takes_no_files_from_elsewhere(made: Composition, source: str) -> None:
    url = made.registry + "/api/2.0/mlflow/model-versions/create"
    body = json.dumps({"name": MODEL, "source": source}).encode()
    refused = ask(url, body, Content_Type="application/json")
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid model version source" in refused.json()["message"]


def address(made: Composition, user: str, password: str) -> str:
    """Where the database is, for its own client."""
    return f"host=127.0.0.1 port={made.ports['db']} dbname=mlflow user={user} password={password}"


@pytest.mark.parametrize(
    ("user", "password"), [("mlflow", "wrong"), ("postgres", PASSWORD)], ids=["wrong password", "superuser"]
)
def test_the_database_lets_nobody_else_in(made: Composition, user: str, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address(made, user, password))


def test_mlflow_is_no_superuser(made: Composition) -> None:
    with psycopg.connect(address(made, "mlflow", PASSWORD)) as connection:
        query = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(query).fetchone() == (False, False, False)


def test_the_password_is_seen_nowhere(made: Composition) -> None:
    seen = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any("--backend-store-uri=postgresql+psycopg://mlflow@" in line for line in seen)
    assert not any(PASSWORD in line for line in seen)
    first = psutil.Process(made.processes["mlflow"].pid)
    for process in [first, *first.children(recursive=True)]:
        assert PASSWORD not in process.environ().values()
    assert all(PASSWORD not in made.log(name) for name in made.services)
    passfile = made.own("mlflow") / "tmp/pgpass"
    assert PASSWORD in passfile.read_text()
    assert passfile.stat().st_mode & 0o777 == 0o600


def test_a_new_pin_and_a_restart_serve_another_version(made: Composition) -> None:
    before, url = pinned(made), made.url + "/predict"
    pin(made, register(made.registry, made.folder, MODEL, steepness=6.0))
    assert made.stop("model") == 0
    with client() as session:
        gone = session.post(url, RED, timeout=30)
        check_problem(gone, 503, "not_ready")
        assert by_the_proxy(gone)
        assert gone.headers["Retry-After"] == "5"
        start_model(made)
        # Nobody has told the proxy.
        served = session.post(url, RED, timeout=30)
    assert served.headers["X-Model-Digest"] == pinned(made)["digest"] != before["digest"]


def test_a_model_server_with_another_address_is_found(made: Composition) -> None:
    assert made.stop("proxy") == 0
    # Nobody listens there.
    with names("127.0.0.8") as server:
        upstream = f"model.test:{made.ports['model']}"
        start_proxy(made, UPSTREAM=upstream, RESOLVER=f"127.0.0.1:{server.port}")
        await_listening(made)
        check_problem(ask(made.url + "/livez"), 503, "not_ready")
        server.address = "127.0.0.1"
        await_proxy(made)
    assert ask(made.url + "/readyz").ok


def await_listening(made: Composition) -> None:
    """Waits until nginx answers, whatever it is."""
    check = ["curl", "--silent", "--output", "/dev/null", made.url]
    made.await_healthy("proxy", check, made.environment("proxy"))


def test_every_service_ends_when_it_is_told_to(made: Composition) -> None:
    names = list(made.services)
    assert {name: made.stop(name) for name in names} == dict.fromkeys(names, 0)
