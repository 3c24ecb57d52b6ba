"""nginx, MLflow and the Compose file agree with the model server on limits, times, errors and settings."""

import json
import re
from http import HTTPStatus

import mlflow.environment_variables

from serving.api.errors import RequestError
from serving.config import Settings
from serving.server.connections import HEAD_BYTES
from tests.deploy.composition.document import DEPLOY, document, number

SERVICES = document()["services"]
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
SETTINGS = Settings.read(SERVICES["model"]["environment"])
# Titles of RFC 9110 and Python 3.13 that older Python versions do not have.
TITLES = {413: "Content Too Large", 414: "URI Too Long"}


def directive(directive: str) -> list[str]:
    """The arguments of an nginx directive that occurs once."""
    (words,) = re.findall(rf"^ *{directive} (.+);$", NGINX, re.MULTILINE)
    return str(words).split()


def test_the_model_server_knows_its_settings() -> None:
    # Settings.read refuses unknown ones, when this module is imported.
    assert SETTINGS.proxy_hops == 1
    assert SETTINGS.rate_limit
    assert SETTINGS.registry == "http://mlflow:5000"


def test_services_have_time_to_stop_gracefully() -> None:
    assert number(SERVICES["model"]["stop_grace_period"]) > SETTINGS.drain + SETTINGS.grace
    assert number(SERVICES["proxy"]["stop_grace_period"]) > number(directive("worker_shutdown_timeout")[0])


def test_the_proxy_has_the_limits_of_the_server() -> None:
    # Slightly larger, so that the server itself refuses what is too large or too late.
    assert (
        SETTINGS.max_body_bytes
        < number(directive("client_max_body_size")[0])
        <= SETTINGS.max_body_bytes + 2**20
    )
    assert SETTINGS.deadline < number(directive("proxy_read_timeout")[0]) <= SETTINGS.deadline + 10
    assert number(directive("client_header_timeout")[0]) == SETTINGS.head_seconds
    pieces, size = directive("large_client_header_buffers")
    assert int(pieces) * number(size) == HEAD_BYTES
    # The error names this time.
    assert f"for {number(directive('client_body_timeout')[0])} seconds" in NGINX


def test_buffered_bodies_fit_into_the_tmpfs_and_the_memory() -> None:
    proxy = SERVICES["proxy"]
    (room,) = (number(option.partition("size=")[2].partition(",")[0]) for option in proxy["tmpfs"])
    largest = number(directive("client_max_body_size")[0])
    buffers = int(directive("worker_connections")[0]) * number(directive("client_body_buffer_size")[0])
    # One client alone cannot fill it.
    assert int(directive("limit_conn clients")[0]) * largest < room
    assert room + buffers < number(proxy["mem_limit"])


def test_the_proxys_errors_are_the_servers() -> None:
    known = {(kind.status, kind.code) for kind in RequestError.__subclasses__()}
    table = re.search(r"map \$status \$problem \{\n(.+?)\n    \}", NGINX, re.DOTALL)
    assert table
    rows = re.findall(r"^ +(\w+) '(.+)';$", table[1], re.MULTILINE)
    assert len(rows) == len(table[1].splitlines()) > 5
    for key, members in rows:
        status = 500 if key == "default" else int(key)
        document = json.loads(f"{{{members}}}")
        code = document["code"]
        assert (status, code) in known
        title = TITLES.get(status, HTTPStatus(status).phrase)
        assert (document["type"], document["title"]) == (f"/docs#{code}", title)
    answered = {
        int(word) for line in re.findall(r"error_page (.+) /", NGINX) for word in re.findall(r"=?(\d+)", line)
    }
    assert {int(key) for key, _ in rows if key != "default"} <= answered


def test_mlflow_knows_its_settings() -> None:
    for name in SERVICES["mlflow"]["environment"]:
        if name.startswith("MLFLOW_"):
            assert hasattr(mlflow.environment_variables, name), name


def test_mlflow_is_configured_safely() -> None:
    service = SERVICES["mlflow"]
    options = dict(
        word.removeprefix("--").split("=", 1) for word in service["command"] if word.startswith("--")
    )
    # The first name is for the model server, the others for people and pipelines on this machine.
    assert options["allowed-hosts"] == "mlflow:5000,127.0.0.1:5001,localhost:5001"
    assert SETTINGS.registry.removeprefix("http://") in options["allowed-hosts"].split(",")
    assert "artifacts-destination" in options
    for name, value in {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        assert service["environment"][name] == value
