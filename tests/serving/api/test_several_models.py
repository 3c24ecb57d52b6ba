"""Several models in one server: each request is answered by one of them, and everything says which."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, one_colour_png, write_bundle
from tests.serving.servers import Server, publish, running

RED = one_colour_png(COLOURS["red"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `colours`, version 3, and of `tones`, version 8, which is less sure."""
    folder: Path = publish(tmp_path_factory.mktemp("both"))
    bundle = Bundle.open(write_bundle(folder / "models/tones/bundle", "tones", steepness=2.0))
    (folder / "pins/tones.json").write_bytes(Pin("tones", 8, bundle.digest).to_bytes())
    with running(folder, models="colours,tones") as started:
        yield started


@pytest.mark.parametrize(("query", "name", "version"), [("", "colours", 3), ("?model=tones", "tones", 8)])
def test_the_query_names_the_model(both: Server, query: str, name: str, version: int) -> None:
    response = both.post(f"/predict{query}", files={"image": RED})
    model = response.json()["model"]
    assert (model["name"], model["version"]) == (name, version)
    headers = response.headers
    found = headers["X-Model-Name"], headers["X-Model-Version"], headers["X-Model-Digest"]
    assert found == (name, str(version), model["digest"])
    assert both.get(f"/version{query}").json()["digest"] == model["digest"]
    assert both.get(f"/model{query}").json()["name"] == name


def test_their_answers_differ(both: Server) -> None:
    sure, unsure = (
        both.post(f"/inference?model={name}", data=RED).json()["red"] for name in ("colours", "tones")
    )
    assert sure > 0.95 > 0.8 > unsure


def test_protocols_address_them_in_the_path(both: Server) -> None:
    names = [entry["name"] for entry in both.post("/v2/repository/index").json()]
    assert names == ["colours", "colours_tensor", "tones", "tones_tensor"]
    response = both.get("/v2/models/tones/versions/8/ready")
    assert (response.status_code, response.headers["X-Model-Name"]) == (200, "tones")
    assert both.get("/v2/models/tones/versions/3").status_code == 404


def test_an_unknown_model_is_refused(both: Server) -> None:
    response = both.post("/predict?model=shapes", data=RED)
    assert (response.status_code, response.json()["code"]) == (404, "model_unknown")


def test_metrics_are_by_model(both: Server) -> None:
    both.post("/inference?model=tones", data=RED)
    lines = both.get("/metrics").text.splitlines()
    for name in ("colours", "tones"):
        assert any(
            line.startswith(f'goldfish_predictions_total{{label="red",model="{name}"}}') for line in lines
        )
        assert f'goldfish_golden_tolerance{{model="{name}"}} 0.005' in lines


def test_the_page_is_about_one_of_them(both: Server) -> None:
    page = both.get("/?model=tones", headers={"Accept": "text/html"}).text
    assert 'data-predict="/predict?model=tones"' in page
    assert '<a href="/?model=colours">colours</a>' in page
    assert '<a href="/?model=tones" aria-current="page">tones</a>' in page
