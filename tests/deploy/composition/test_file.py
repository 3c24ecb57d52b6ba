"""deploy/compose.yaml follows its schema, hardens every service, and publishes only the proxy."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.composition.document import DEPLOY, FILE, document, number
from tests.repo.imports import ROOT

DOCUMENT = document()
SERVICES: dict[str, Any] = DOCUMENT["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def dockerfile(name: str) -> str:
    """The Dockerfile that a service is built from, up to its target; empty if it is not built."""
    build: dict[str, str] = SERVICES[name].get("build", {})
    if not build:
        return ""
    text = (DEPLOY / build["context"] / "Dockerfile").read_text(encoding="utf-8")
    if "target" in build:
        _, _, text = text.partition(f" AS {build['target']}\n")
    return text.partition("\nFROM ")[0] if "target" in build else text


def valid(file: Path) -> bool:
    """Whether a file follows the schema of the Compose specification."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    command = [sys.executable, "-m", "check_jsonschema", *schema, str(file)]
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
    # Access to the engine's socket is root access to the machine.
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
    # The same base, so that both are updated together.
    assert bases[0] == bases[1]
    for image in [*images, *bases[0]]:
        assert re.fullmatch(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", image)


def test_only_the_proxy_is_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy": ["8080:8080"], "mlflow": ["127.0.0.1:5001:5000"]}


def test_networks_connect_only_neighbours() -> None:
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
    # Networks with access to the outside have one service each, so they connect none.
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


def test_the_manual_tells_of_every_service_and_leads_somewhere() -> None:
    manual = ROOT / "docs/deploy.md"
    text = manual.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(SERVICES)
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    assert [link for link in links if not (manual.parent / link).exists()] == []
