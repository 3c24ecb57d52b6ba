"""Vertex AI's environment variables are applied, or refused with one sentence."""

from pathlib import Path

import pytest

from serving.api.app import create_app
from serving.api.service import Service
from serving.artifact.release import find_releases
from serving.config import Settings, SettingsInvalid
from serving.server.drain import Drain
from tests.serving.api.protocols.calls import CALLS
from tests.serving.servers import free_port, publish, running
from tests.serving.wire import ask, head, post

ENDPOINT = "/v1/endpoints/17/deployedModels/4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a pinned bundle."""
    return publish(tmp_path_factory.mktemp("vertex"))


def start(folder: Path, health: str = "", predict: str = "") -> set[str]:
    """The routes of an application with these settings."""
    settings = Settings(
        model="colours",
        pins=folder / "pins",
        models_folder=folder / "models",
        aip_health_route=health,
        aip_predict_route=predict,
    )
    app = create_app(Service.start(settings, find_releases(settings), 1, Drain()))
    return {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("vertex_ai")}


def test_variables_of_the_platform(folder: Path) -> None:
    port = free_port()
    settings = {
        "AIP_HTTP_PORT": port,
        "AIP_HEALTH_ROUTE": ENDPOINT,
        "AIP_PREDICT_ROUTE": f"{ENDPOINT}:predict",
        "PORT": 5000,
    }
    with running(folder, port=port, **settings) as server:
        # AIP_HTTP_PORT takes precedence over PORT.
        assert ask(server, head("GET", ENDPOINT)).status == 200
        call = CALLS["vertex ai"]
        body = call.body((folder / "models/colours/bundle/serving/golden/0.png").read_bytes())
        assert call.read(ask(server, post(f"{ENDPOINT}:predict", body)))[0] > 0.9
        error = ask(server, post(f"{ENDPOINT}:predict", b"{}"))
        assert (error.status, error.json["code"]) == (400, "document_malformed")
        assert error.json["error"]
        assert ask(server, head("GET", f"{ENDPOINT}:predict")).status == 405


@pytest.mark.parametrize(
    ("health", "predict", "added"),
    [
        ("", "", set()),
        ("/h", "/p", {"/h", "/p"}),
        ("/same", "/same", {"/same"}),
        ("/readyz", "/invocations", set()),
        ("/ping", "/v1/models/colours:predict", set()),
        ("/v2/health/ready", "", set()),
    ],
)
def test_existing_equivalent_routes_are_reused(
    folder: Path, health: str, predict: str, added: set[str]
) -> None:
    assert start(folder, health, predict) == added


@pytest.mark.parametrize(
    ("health", "predict"),
    [
        *(
            ("/", ""),
            ("/predict", ""),
            ("/metrics", ""),
            ("/static/page.css", ""),
            ("/v2/models/colours", ""),
        ),
        *(("", "/predict"), ("", "/"), ("", "/readyz"), ("", "/hf/classify"), ("", "/v2/models/x/infer")),
    ],
)
def test_routes_that_do_something_else_stop_the_start(folder: Path, health: str, predict: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"AIP_(HEALTH|PREDICT)_ROUTE is '{health or predict}', where"):
        start(folder, health, predict)
