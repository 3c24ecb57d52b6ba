"""The OpenAPI document is complete, and a running server behaves as it describes."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.api.openapi_responses import all_errors
from tests.repo.imports import ROOT
from tests.repo.routes import ROUTES
from tests.serving.bundles import one_colour_png
from tests.serving.servers import Server, publish, running

KEY = "a key of the tests"


def document(server: Server) -> Any:  # noqa: ANN401  (JSON)
    """The OpenAPI document of the server."""
    return server.get("/openapi.json").json()


COMMANDS = ("x-curl", "x-curl-json")


# Requests that schemathesis generates for each operation. Slow: MANY of them take half a minute.
FEW, MANY = 3, 60
examples = pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


def explore(server: Server, examples: int, *options: str) -> str:
    """Sends what schemathesis makes of the document, asserts that it found nothing, returns its report."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--checks", "all", "--max-examples", str(examples), "--seed", "1", "--no-color"),
        # Regression always fails; paths with versions and labels have the same views as those without.
        *("--exclude-path-regex", ":regress$|/versions/|/labels/"),
        *options,
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.serving.openapi_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=server.folder,
        timeout=300,
        env=os.environ | hooks,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answered(server: Server, route: str) -> set[str]:
    """The statuses of a route's responses so far."""
    series = rf'goldfish_requests_total{{route="{route}",status="(\d+)"}}'
    return set(re.findall(series, server.get("/metrics").text))


@examples
def test_schemathesis_finds_nothing(tmp_path: Path, examples: int) -> None:
    with running(publish(tmp_path)) as server:
        report = explore(server, examples)
        # With few examples it may warn that it got only errors from an operation.
        assert "No issues found" in report or examples == FEW
        # Some requests reached the model, others were refused.
        routes = ("/inference", "/predict", "/invocations", "/hf/classify", "/v2/models/<name>/infer")
        for route in (*routes, "/v1/models/<name>:predict", "/v1/models/<name>:classify"):
            assert {"200", "400", "405"} <= answered(server, route) | answered(server, "none")
            assert "500" not in answered(server, route)


@examples
def test_schemathesis_finds_nothing_behind_a_key(tmp_path: Path, examples: int) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with running(publish(tmp_path), api_keys=digest) as server:
        only = (
            "--include-path-regex",
            "^/(inference|predict|invocations|hf/classify|v[12]/models/.*(infer|predict))$",
        )
        assert "No issues found" in explore(server, examples, *only, "-H", f"X-API-Key: {KEY}")
        for route in ("/predict", "/invocations", "/v2/models/<name>/infer"):
            assert "401" in answered(server, route)


def test_every_route_is_described(server: Server) -> None:
    described = {
        (method.upper(), path)
        for path, operations in document(server)["paths"].items()
        for method in operations
    }
    # Flask's own routes: each described method is allowed.
    for method, path in described:
        for place, name in {"name": "colours", "version": "3", "label": "champion"}.items():
            path = path.replace(f"{{{place}}}", name)
        allowed = requests.options(server.url + path, timeout=10).headers["Allow"]
        assert method in allowed.split(", ")
    assert described == ROUTES


def test_every_error_is_described(server: Server) -> None:
    rows = {row["code"]: row for row in document(server)["x-errors"]}
    assert rows.keys() == {error.code for error in all_errors()}
    assert all(re.fullmatch(r"[A-Z].*\.", row["description"], re.DOTALL) for row in rows.values())


@pytest.mark.parametrize("path", ["/inference", "/predict", "/explain"])
def test_every_refusal_of_an_image_is_described(server: Server, path: str) -> None:
    responses = document(server)["paths"][path]["post"]["responses"]
    for error in all_errors():
        if error.code.startswith("image"):
            assert f"`{error.code}`" in responses[str(error.status)]["description"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_every_command_works(server: Server, tmp_path: Path) -> None:
    for name in ("photo.jpg", "one.jpg", "two.png"):
        (tmp_path / name).write_bytes(one_colour_png((255, 0, 0)))
    for path, operations in document(server)["paths"].items():
        for command in [about[name] for about in operations.values() for name in COMMANDS if name in about]:
            shell = ["bash", "-c", command.replace("curl ", "curl -s ").replace("{url}", server.url)]
            done = subprocess.run(shell, capture_output=True, text=True, check=True, cwd=tmp_path)
            if "heatmap.png" in command:
                assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
            else:
                assert "red" in done.stdout or "[0.9" in done.stdout or path in ("/", "/model"), command


def test_settings_show(tmp_path: Path) -> None:
    with running(publish(tmp_path), rate_limit="100/second", max_images=3) as server:
        operation = document(server)["paths"]["/predict"]["post"]
        assert "429" in operation["responses"]
        schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert schema["properties"]["image"]["maxItems"] == 3
