"""`POST /explain`: picture or JSON, class and method, the part of the image, and the limits of a request."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.api.app import create_app
from serving.api.errors import DeadlineExceeded
from serving.api.service import Service
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.config import Settings
from serving.explanation.explainer import GRID
from serving.server.drain import Drain
from tests.serving.api.blocking import occupied
from tests.serving.bundles import COLOURS, one_colour_png, write_bundle
from tests.serving.images import halves
from tests.serving.servers import Server, publish, running

JSON = {"Accept": "application/json"}
RED = one_colour_png(COLOURS["red"])


def explain(server: Server, image: bytes, query: str = "") -> dict[str, Any]:
    """The JSON answer."""
    response = server.post(f"/explain{query}", files={"image": image}, headers=JSON)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def test_picture_is_the_default(server: Server) -> None:
    response = server.post("/explain", files={"image": halves()})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    picture = np.asarray(Image.open(io.BytesIO(response.content)))
    assert picture.shape == (448, 448, 3)
    # Only the central square is shown.
    assert not (picture.reshape(-1, 3) == COLOURS["green"]).all(axis=1).any()
    assert response.headers["X-Model-Name"] == "colours"


def test_json_has_the_map_and_its_place_in_the_image(server: Server) -> None:
    found = explain(server, halves(), "?class=red")
    assert (found["label"], found["id"], found["method"]) == ("red", "c0", "cam")
    assert found["box"] == {"left": 20, "top": 0, "width": 20, "height": 20}
    assert (found["width"], found["height"]) == (60, 20)
    values = np.array(found["values"])
    assert values.shape == (8, 8)
    assert values[:, :3].min() > values[:, 5:].max()
    scores = server.post("/predict", files={"image": halves()}).json()["predictions"][0]
    assert found["score"] == next(score["score"] for score in scores if score["label"] == "red")
    assert found["model"]["digest"] == server.post("/predict", files={"image": RED}).json()["model"]["digest"]


def test_class_is_a_label_or_an_id_and_by_default_the_best(server: Server) -> None:
    assert explain(server, RED)["label"] == "red"
    assert explain(server, RED, "?class=c2")["label"] == "blue"
    for name in ("", "Red", "purple"):
        response = server.post(f"/explain?class={name}", files={"image": RED})
        assert (response.status_code, response.json()["code"]) == (400, "parameter_invalid")


def test_occlusion_is_asked_for(server: Server) -> None:
    values = np.array(explain(server, halves(), "?class=red&method=occlusion")["values"])
    assert values.shape == (GRID, GRID)
    assert values[:, 0].min() > 0 > values[:, -1].max()
    response = server.post("/explain?method=gradient", files={"image": RED})
    assert (response.status_code, response.json()["code"]) == (400, "parameter_invalid")


def test_box_is_of_the_upright_image(server: Server) -> None:
    upright = Image.open(io.BytesIO(halves())).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    turned, plain = explain(server, file.getvalue(), "?class=red"), explain(server, halves(), "?class=red")
    assert {key: turned[key] for key in ("box", "width", "height")} == {
        key: plain[key] for key in ("box", "width", "height")
    }
    assert np.array(turned["values"]) == pytest.approx(np.array(plain["values"]), abs=1e-5)


@pytest.mark.parametrize("image", [b"", b"no image", halves()[:60]])
def test_what_is_no_image_is_refused_as_by_predict(server: Server, image: bytes) -> None:
    answers = [server.post(path, data=image) for path in ("/explain", "/predict")]
    assert answers[0].status_code == answers[1].status_code >= 400
    assert answers[0].json()["code"] == answers[1].json()["code"]


def test_one_image_only(server: Server) -> None:
    response = server.post("/explain", files=[("image", RED), ("image", RED)])
    assert (response.status_code, response.json()["code"]) == (400, "images_too_many")


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    with running(publish(tmp_path), explain="false") as server:
        assert server.post("/explain", files={"image": RED}).status_code == 404
        assert "/explain" not in server.get("/openapi.json").json()["paths"]
        page = server.get("/", headers={"Accept": "text/html"}).text
        assert "data-explain" not in page
        assert 'id="heat"' not in page


def test_explanations_are_under_the_same_admission_control(tmp_path: Path) -> None:
    blocking = "tests.serving.api.blocking"
    with (
        running(publish(tmp_path), module=blocking, slots=1, queue=0, deadline=60) as server,
        occupied(server),
    ):
        response = server.post("/explain", files={"image": RED})
        assert (response.status_code, response.json()["code"]) == (503, "server_busy")


def test_occlusion_that_would_take_too_long_is_refused_at_once(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))
    release = Release(bundle, Pin("colours", 3, bundle.digest), None, None)
    service = Service.start(Settings(deadline=1.0), [release], 1, Drain())
    client = create_app(service).test_client()
    predictor = service.models.default.predictor
    session = predictor.session

    class Slow:
        """A session that takes a tenth of a second."""

        def run(self, *arguments: Any) -> Any:  # noqa: ANN401  (ONNX Runtime's)
            time.sleep(0.1)
            return session.run(*arguments)

    object.__setattr__(predictor, "session", Slow())
    began = time.monotonic()
    response = client.post("/explain?method=occlusion", data=RED)
    assert time.monotonic() - began < 1
    assert (response.status_code, response.get_json()["code"]) == (501, "explanation_too_slow")
    assert "Retry-After" not in response.headers
    # The map takes two predictions.
    assert client.post("/explain?method=cam", data=RED).status_code == 200


def test_a_deadline_ends_it(tmp_path: Path) -> None:
    with running(publish(tmp_path), deadline=0.000001) as server:
        response = server.post("/explain?method=occlusion", files={"image": RED})
        assert (response.status_code, response.json()["code"]) == (503, DeadlineExceeded.code)
