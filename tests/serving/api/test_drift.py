"""Drift in /metrics and /model: every classified image counts, and what is absent is said to be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from serving.api.app import create_app
from serving.api.drift_charts import CLASSES, class_rows, histogram_chart
from serving.api.response_schemas import ModelCard
from serving.api.service import Service
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.config import Settings
from serving.drift.monitor import Distribution
from serving.server.drain import Drain
from tests.serving.api.protocols.calls import CALLS, TENSOR
from tests.serving.api.protocols.conftest import VERTEX
from tests.serving.api.test_page import RULES, SHORT, assert_legible, visit
from tests.serving.browser import chromium
from tests.serving.bundles import COLOURS, CONFIDENCE_DOCUMENT, one_colour_png, write_bundle
from tests.serving.drift.measured_bundles import measured_release
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, post

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
GREY = one_colour_png((9, 9, 9))
PAGE = {"Accept": "text/html"}
NAMES = ["class", "confidence", "energy", "brightness", "size"]
COMPARED = {f"goldfish_{name}_shift{usual}" for name in NAMES for usual in ("", "_usual")}
COMPARED |= {"goldfish_estimated_accuracy", "goldfish_unfamiliar_share", "goldfish_unfamiliar_share_usual"}


def app_of(release: Release) -> Flask:
    """An application that serves a release."""
    return create_app(Service.start(Settings(), [release], 1, Drain()))


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application whose bundle has confidence, with a report on its test images."""
    return app_of(measured_release(tmp_path / "measured", {"top1": 0.97}))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of such a bundle, for all protocols."""
    with running(publish(tmp_path_factory.mktemp("measured")), **VERTEX) as started:
        yield started


def send(app: Flask, *images: bytes) -> None:
    """Classifies images one by one."""
    client = app.test_client()
    for image in images:
        assert client.post("/inference", data=image).status_code == 200


def gauges(text: str) -> dict[str, float]:
    """The gauges in the text of /metrics."""
    families = text_string_to_metric_families(text)
    return {family.name: family.samples[0].value for family in families if family.type == "gauge"}


def card(server: Server) -> Any:  # noqa: ANN401  (JSON)
    """The member `drift` of the model card."""
    return server.get("/model").json()["drift"]


def test_gauges_of_answers_like_the_validation_images(app: Flask) -> None:
    send(app, *[RED, GREEN, BLUE] * 40)
    shown = gauges(app.test_client().get("/metrics").text)
    assert shown.keys() >= COMPARED
    assert shown["goldfish_window_answers"] == 120
    assert shown["goldfish_estimated_accuracy"] == pytest.approx(0.9647, abs=1e-4)
    assert shown["goldfish_test_accuracy"] == 0.97
    assert shown["goldfish_unfamiliar_share"] == 0
    for name in NAMES:
        assert shown[f"goldfish_{name}_shift"] <= shown[f"goldfish_{name}_shift_usual"]


def test_gauges_of_other_answers(app: Flask) -> None:
    send(app, *[GREY] * 60, *[one_colour_png((250, 250, 240))] * 60)
    shown = gauges(app.test_client().get("/metrics").text)
    assert shown["goldfish_estimated_accuracy"] < 0.4
    assert shown["goldfish_unfamiliar_share"] == 0.5 > shown["goldfish_unfamiliar_share_usual"]
    for name in ("class", "confidence", "brightness"):
        assert shown[f"goldfish_{name}_shift"] > shown[f"goldfish_{name}_shift_usual"] + 0.02


def test_too_few_answers_have_no_gauges(app: Flask) -> None:
    send(app, *[RED] * 12)
    shown = gauges(app.test_client().get("/metrics").text)
    assert shown.keys() & COMPARED == set()
    assert shown["goldfish_window_answers"] == 12
    page = app.test_client().get("/model", headers=PAGE).text
    # Two figures and five distributions.
    assert page.count("Not enough answers yet: 12 of 100") == 7
    # Few answers could be told apart.
    assert "33.3%" not in page
    assert 'role="img"' not in page


def test_golden_images_and_health_checks_do_not_count(app: Flask) -> None:
    client = app.test_client()
    for path in ("/livez", "/readyz", "/ping", "/v2/health/ready", "/v1/models/colours", "/", "/model"):
        assert client.get(path).status_code == 200
    assert client.post("/inference", data=b"no image").status_code == 415
    assert gauges(client.get("/metrics").text)["goldfish_window_answers"] == 0


def test_health_is_a_gauge(tmp_path: Path) -> None:
    drain = Drain()
    service = Service.start(Settings(), [measured_release(tmp_path / "measured")], 1, drain)
    client = create_app(service).test_client()
    shown = gauges(client.get("/metrics").text)
    assert shown["goldfish_ready"] == 1
    assert 0 <= shown["goldfish_golden_difference"] <= shown["goldfish_golden_tolerance"] == 0.005
    drain.begin(60)
    assert client.get("/readyz").status_code == 503
    assert gauges(client.get("/metrics").text)["goldfish_ready"] == 0


def test_every_protocol_counts(measured: Server) -> None:
    expected = card(measured)["answers"]
    for call in CALLS.values():
        assert ask(measured, call.request(RED)).status == 200
        expected += 1
        assert card(measured)["answers"] == expected
    sizes = card(measured)["distributions"]["size"]["answers"]
    assert sizes == expected
    # Pixels count too, and have no size of a file.
    tensor = {"name": "image", "shape": [2, 8, 8, 3], "datatype": "UINT8", "data": [200] * 384}
    response = ask(measured, post(f"/v2/models/{TENSOR}/infer", msgspec.json.encode({"inputs": [tensor]})))
    assert response.status == 200
    found = card(measured)
    assert found["answers"] == found["distributions"]["brightness"]["answers"] == expected + 2
    assert found["distributions"]["size"]["answers"] == sizes


def test_the_card_as_json(app: Flask) -> None:
    send(app, *[RED, GREEN, BLUE, GREY] * 30)
    document = msgspec.json.decode(app.test_client().get("/model").data, type=ModelCard)
    assert document.drift is not None
    assert (document.drift.answers, document.drift.needed) == (120, 100)
    assert document.drift.unfamiliar_share == 0.25
    assert list(document.drift.distributions) == NAMES
    energy = document.drift.distributions["energy"]
    assert energy.shift is not None
    assert energy.usual is not None
    assert energy.shift > energy.usual


@pytest.mark.parametrize("bundle_format", [1, 2])
def test_a_bundle_without_confidence_has_no_drift(tmp_path: Path, bundle_format: int) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle", bundle_format=bundle_format, trusted=False))
    app = app_of(Release(bundle, Pin("colours", 3, bundle.digest), None, {"top1": 0.97}))
    send(app, *[RED] * 120)
    client = app.test_client()
    shown = gauges(client.get("/metrics").text)
    assert shown.keys() & (COMPARED | {"goldfish_window_answers"}) == set()
    assert msgspec.json.decode(client.get("/model").data, type=ModelCard).drift is None
    assert (
        "Not measured: this bundle has no record of its validation images"
        in client.get("/model", headers=PAGE).text
    )


def test_a_port_for_metrics_keeps_drift_from_the_page(tmp_path: Path) -> None:
    service = Service.start(Settings(metrics_port=9000), [measured_release(tmp_path / "b")], 1, Drain())
    app = create_app(service)
    send(app, *[RED] * 120)
    assert msgspec.json.decode(app.test_client().get("/model").data, type=ModelCard).drift is None
    page = app.test_client().get("/model", headers=PAGE).text
    assert "on this server's metrics port only" in page
    assert "Estimated accuracy" not in page
    metrics = app.test_client().get("/metrics", base_url="http://localhost:9000").text
    assert gauges(metrics).keys() >= COMPARED - {"goldfish_test_accuracy"}


def test_probabilities_that_are_not_calibrated_estimate_nothing(tmp_path: Path) -> None:
    release = measured_release(tmp_path / "measured", document=CONFIDENCE_DOCUMENT | {"temperature": None})
    app = app_of(release)
    send(app, *[RED] * 120)
    assert "goldfish_estimated_accuracy" not in gauges(app.test_client().get("/metrics").text)
    page = app.test_client().get("/model", headers=PAGE).text
    assert "The probabilities are not calibrated" in page


def test_charts_say_the_same_in_words(app: Flask) -> None:
    send(app, *[GREY] * 120)
    page = app.test_client().get("/model", headers=PAGE).text
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert labels == [
        "Confidence. The middle half of the validation images is from 0.95 to 1, that of the answers "
        "from 0.3 to 0.35.",
        "Energy. The middle half of the validation images is from 4 to 5, that of the answers from 1 to 2.",
        "Brightness. The middle half of the validation images is from 0.3 to 0.35, that of the answers "
        "from 0 to 0.05.",
        "Size of the files. The middle half of the validation images is from 8 px to 11.3 px, that of the "
        "answers from 8 px to 11.3 px.",
    ]
    assert page.count("More than usual") == 5
    assert page.count("As usual") == 1


def test_bars_have_the_heights_of_the_shares() -> None:
    counts = [0, 50, 50, 0, 0], [0, 0, 20, 60, 0]
    entry = distribution(*counts, edges=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0))
    chart = histogram_chart(entry, entry.edges or (), " px")
    bars = [(bar.kind, bar.x, bar.height) for bar in chart.bars]
    assert bars == [
        ("reference", 1, 40),
        ("reference", 11, 40),
        ("answers", 15, 20),
        ("answers", 25, 60),
    ]
    assert all(bar.y + bar.height == 60 for bar in chart.bars)
    assert (chart.width, chart.low, chart.high) == (30, "1 px", "4 px")


def test_of_many_classes_those_that_changed_most_are_shown() -> None:
    reference, answers = [10] * 1000, [10] * 1000
    reference[7], answers[7] = 0, 200
    reference[400], answers[400] = 200, 0
    labels = [f"class {number}" for number in range(1000)]
    rows = class_rows(distribution(reference, answers), labels)
    assert [row.label for row in rows] == ["class 7", "class 400"]
    assert (rows[0].reference, rows[0].answers_length, rows[1].answers_length) == (0, 100, 0)
    assert len(class_rows(distribution(reference, list(range(1000))), labels)) == CLASSES


def distribution(
    reference: list[int], answers: list[int], edges: tuple[float, ...] | None = None
) -> Distribution:
    """A distribution with these counts."""
    return Distribution("size", edges, np.array(reference), np.array(answers), 0.5, 0.1)


def test_the_panel_in_a_browser(measured: Server) -> None:
    for image in (RED, GREEN, GREY, BLUE) * 30:
        assert measured.post("/inference", data=image).ok
    with chromium() as browser, visit(browser, measured) as page:
        page.open("/model")
        assert page.shows("#drift")
        assert page.shows("svg[role=img] rect.reference")
        assert_legible(page)
        for rule, script in RULES.items():
            assert page.run(f"{SHORT} return {script}.map(e => e.outerHTML)") == [], rule
        bars = page.run(
            "return [...document.querySelectorAll('.row rect')].map(e => e.getBoundingClientRect().width)"
        )
        assert len(bars) == 2 * len(COLOURS)
        assert min(bars) > 10
        page.screen(320, 640, touch=True)
        page.open("/model")
        assert page.run("return document.documentElement.scrollWidth <= innerWidth && innerWidth === 320")
