"""deploy/compose.yaml is hardened, and at one with its schema, nginx, MLflow and the model server."""

import json
import re
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mlflow.environment_variables
import pytest

from serving.api.errors import RequestError
from serving.config import Settings
from serving.worker import HEAD_BYTES
from tests.deploy.composition import DEPLOY, FILE, composition
from tests.repo.imports import ROOT

DOCUMENT = composition()
SERVICES: dict[str, Any] = DOCUMENT["services"]
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
SETTINGS = Settings.read(SERVICES["model"]["environment"])
UNITS = {"": 1, "s": 1, "k": 2**10, "m": 2**20, "g": 2**30}
# What Python before 3.13 calls otherwise than RFC 9110 and the image's own Python.
TITLES = {413: "Content Too Large", 414: "URI Too Long"}
each_service = pytest.mark.parametrize("name", SERVICES)


def number(text: str) -> int:
    """Seconds or bytes, as Compose and nginx write them."""
    found = re.fullmatch(r"(\d+)([a-z]?)", text)
    assert found
    return int(found[1]) * UNITS[found[2]]


def told(directive: str) -> list[str]:
    """The words behind a directive of nginx that stands there once."""
    (words,) = re.findall(rf"^ *{directive} (.+);$", NGINX, re.MULTILINE)
    return str(words).split()


def dockerfile(name: str) -> str:
    """The Dockerfile that a service is built from, up to its target; empty if it is not built."""
    build: dict[str, str] = SERVICES[name].get("build", {})
    if not build:
        return ""
    text = (DEPLOY / build["context"] / "Dockerfile").read_text(encoding="utf-8")
    return (
        text.partition(f" AS {build['target']}\n")[2].partition("\nFROM ")[0] if "target" in build else text
    )


def valid(file: Path) -> bool:
    """Is a file what the schema of the Compose specification allows?"""
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_schema_allows_it() -> None:
    assert valid(FILE)


@pytest.mark.parametrize("broken", ["read_onyl: true", "ports: 8080", "shm_size: [1]", "configs: {db: 1}"])
def test_the_schema_refuses(broken: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace("  model:\n", f"  model:\n    {broken}\n", 1))
    assert not valid(file)


@each_service
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert number(service["mem_limit"])
    assert service["pids_limit"] <= 256
    assert service["restart"] == "unless-stopped"
    # Whoever can reach the engine's socket is root on the machine.
    assert "docker.sock" not in json.dumps(service)


@each_service
def test_nobody_is_root(name: str) -> None:
    user = SERVICES[name].get("user") or re.findall(r"^USER (.+)$", dockerfile(name), re.MULTILINE)[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@each_service
def test_every_service_tells_whether_it_is_healthy(name: str) -> None:
    assert "test" in SERVICES[name].get("healthcheck", {}) or "\nHEALTHCHECK " in dockerfile(name)
    for condition in SERVICES[name].get("depends_on", {}).values():
        assert condition == {"condition": "service_healthy"}


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    files = [ROOT / "Dockerfile", DEPLOY / "mlflow/Dockerfile"]
    bases = [re.findall(r"^ARG BASE=(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files]
    # Both from one base, so that both are renewed together.
    assert bases[0] == bases[1]
    for image in [*images, *bases[0]]:
        assert re.fullmatch(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", image)


def test_the_proxy_alone_is_shown_to_the_world() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy": ["8080:8080"], "mlflow": ["127.0.0.1:5001:5000"]}


def test_who_may_speak_to_whom() -> None:
    members: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for network in service["networks"]:
            members.setdefault(network, set()).add(name)
    internal = {name for name, network in DOCUMENT["networks"].items() if network.get("internal")}
    assert {name: members[name] for name in internal} == {
        "front": {"proxy", "model"},
        "back": {"model", "mlflow"},
        "store": {"mlflow", "db"},
    }
    # Those that lead outside hold one service each, so they join none.
    assert all(len(members[name]) == 1 for name in members.keys() - internal)


def test_no_secret_stands_in_it() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
                assert name.endswith("_FILE")
                assert value.startswith("/run/secrets/")
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", FILE.read_text(encoding="utf-8"))


def test_secrets_stay_out_of_git_and_images() -> None:
    for secret in DOCUMENT["secrets"].values():
        path = (DEPLOY / secret["file"]).relative_to(ROOT)
        assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert not any(rule.startswith("!deploy") for rule in rules)


def test_the_model_server_knows_its_settings() -> None:
    # Whatever it did not know has stopped this module already.
    assert SETTINGS.proxy_hops == 1
    assert SETTINGS.rate_limit
    assert SETTINGS.registry == "http://mlflow:5000"


def test_services_have_the_time_that_they_need_to_end() -> None:
    assert number(SERVICES["model"]["stop_grace_period"]) > SETTINGS.drain + SETTINGS.grace
    assert number(SERVICES["proxy"]["stop_grace_period"]) > number(told("worker_shutdown_timeout")[0])


def test_the_proxy_has_the_limits_of_the_server() -> None:
    # Larger, so that the server itself refuses what is too large or late; but hardly.
    assert SETTINGS.max_body < number(told("client_max_body_size")[0]) <= SETTINGS.max_body + 2**20
    assert SETTINGS.deadline < number(told("proxy_read_timeout")[0]) <= SETTINGS.deadline + 10
    assert number(told("client_header_timeout")[0]) == SETTINGS.head_seconds
    pieces, size = told("large_client_header_buffers")
    assert int(pieces) * number(size) == HEAD_BYTES
    assert f"{SETTINGS.head_seconds:g} seconds" in NGINX


def test_bodies_have_room() -> None:
    proxy = SERVICES["proxy"]
    (room,) = (number(option.partition("size=")[2].partition(",")[0]) for option in proxy["tmpfs"])
    largest = number(told("client_max_body_size")[0])
    buffers = int(told("worker_connections")[0]) * number(told("client_body_buffer_size")[0])
    # One client alone cannot fill it.
    assert int(told("limit_conn clients")[0]) * largest < room
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


def test_mlflow_is_told_to_be_careful() -> None:
    service = SERVICES["mlflow"]
    options = dict(
        word.removeprefix("--").split("=", 1) for word in service["command"] if word.startswith("--")
    )
    # The model server asks for it by the first name, people and pipelines on this machine by the others.
    assert options["allowed-hosts"] == "mlflow:5000,127.0.0.1:5001,localhost:5001"
    assert SETTINGS.registry.removeprefix("http://") in options["allowed-hosts"].split(",")
    assert "artifacts-destination" in options
    for name, value in {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        assert service["environment"][name] == value


def test_every_volume_is_used_and_every_mount_is_there() -> None:
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if isinstance(volume, str):
                used.add(volume.partition(":")[0])
            else:
                assert volume["read_only"] is True
                assert (DEPLOY / volume["source"]).exists()
    assert used == set(DOCUMENT["volumes"])
