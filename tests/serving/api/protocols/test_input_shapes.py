"""Models with one channel, or with inputs that are not square, and bundles of format 1, in every protocol."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.http as triton

from serving.artifact.manifest import FORMAT
from serving.model.decoder import Pixels, decode
from serving.model.predictor import Predictor
from serving.model.preprocessing import Preprocessing
from tests.serving.api.protocols.calls import CALLS, HEADER, MODEL, TENSOR
from tests.serving.api.protocols.conftest import VERTEX
from tests.serving.api.protocols.mlmodel import mlmodel
from tests.serving.api.test_routes import noise
from tests.serving.images import CORPUS
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, post


class Served(NamedTuple):
    """A server, the predictor of its bundle, and the words of its model card about the input."""

    server: Server
    predictor: Predictor
    input: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.predictor.preprocessing.shape


CASES: dict[str, tuple[Preprocessing, int, str]] = {
    "grey": (
        Preprocessing(28, 20, 1, "squash", 1.0, "bilinear", antialias=False),
        FORMAT,
        "whole image, stretched if it has another shape, as 20 x 28 pixels (width x height), grey",
    ),
    "flat": (
        Preprocessing(40, 64, 3, "crop", 0.9, "lanczos"),
        FORMAT,
        "central part, 90.0% of the largest of this shape, as 64 x 40 pixels (width x height), RGB",
    ),
    "format 1": (
        Preprocessing.square(8, 0.875),
        1,
        "central square, 87.5% of the shorter side, as 8 x 8 pixels, RGB",
    ),
}
IMAGES = [noise(1), CORPUS["png rgba"][0], CORPUS["jpeg grey"][0]]


@pytest.fixture(scope="module", params=CASES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for each kind of input."""
    preprocessing, bundle_format, words = CASES[request.param]
    folder = publish(
        tmp_path_factory.mktemp("shapes"),
        extra={"MLmodel": mlmodel()},
        preprocessing=preprocessing,
        bundle_format=bundle_format,
    )
    with running(folder, **VERTEX) as server:
        yield Served(server, Predictor.open(folder / "models/colours/bundle"), words)


def inputs(served: Served) -> tuple[Pixels, list[list[float]]]:
    """The pixels of all images [N,H,W,C], and the predictions for them [N,K]."""
    pixels = np.stack([decode(image, served.predictor.preprocessing) for image in IMAGES])
    return pixels, served.predictor.predict(pixels).tolist()


def close(rows: Any) -> Any:  # noqa: ANN401  (a list of rows, and pytest's own)
    return [pytest.approx(row, abs=1e-6) for row in rows]


@pytest.mark.parametrize("name", CALLS)
def test_encoded_images(served: Served, name: str) -> None:
    for image in IMAGES:
        response = ask(served.server, CALLS[name].request(image))
        assert response.status == 200, response.body
        expected = served.predictor.classify(image).tolist()
        assert CALLS[name].read(response) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_pixels_in_tensorflow_serving(served: Served, rows: bool, named: bool) -> None:
    pixels, expected = inputs(served)
    body: dict[str, Any] = {"inputs": {"image": pixels.tolist()} if named else pixels.tolist()}
    if rows:
        body = {"instances": [{"image": each} if named else each for each in pixels.tolist()]}
    response = served.server.post(f"/v1/models/{TENSOR}:predict", json=body)
    assert response.json()["predictions" if rows else "outputs"] == close(expected)


@pytest.mark.parametrize("flat", [True, False])
def test_pixels_in_the_open_inference_protocol(served: Served, flat: bool) -> None:
    pixels, expected = inputs(served)
    data = (pixels.ravel() if flat else pixels).tolist()
    tensor = {"name": "image", "shape": pixels.shape, "datatype": "UINT8", "data": data}
    response = served.server.post(f"/v2/models/{TENSOR}/infer", json={"inputs": [tensor]})
    assert np.reshape(response.json()["outputs"][0]["data"], (-1, 3)).tolist() == close(expected)
    raw = ask(served.server, post(f"/v2/models/{TENSOR}/infer", pixels.tobytes(), f"{HEADER}: 0"))
    assert raw.status == 200, raw.body


def test_pixels_by_the_client_of_triton(served: Served) -> None:
    pixels, expected = inputs(served)
    tensor = triton.InferInput("image", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(f"127.0.0.1:{served.server.port}") as client:
        assert client.infer(TENSOR, [tensor]).as_numpy("probabilities").tolist() == close(expected)
        assert client.get_model_metadata(TENSOR)["inputs"][0]["shape"] == [-1, *served.shape]
        assert client.get_model_config(TENSOR)["input"][0]["dims"] == [str(side) for side in served.shape]


@pytest.mark.parametrize("axes", [(0, 2, 1, 3), (0, 3, 1, 2)], ids=["transposed", "channels first"])
def test_pixels_of_another_shape_are_refused_with_the_right_one(
    served: Served, axes: tuple[int, ...]
) -> None:
    pixels = inputs(served)[0].transpose(axes)
    # One row less, so that squares differ too.
    pixels = pixels[:, 1:]
    expected = f"[N,{','.join(map(str, served.shape))}]"
    tensor = {"name": "image", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.tolist()}
    for path, body in (
        (f"/v1/models/{TENSOR}:predict", {"instances": pixels.tolist()}),
        (f"/v2/models/{TENSOR}/infer", {"inputs": [tensor]}),
    ):
        response = served.server.post(path, json=body)
        assert response.status_code == 400
        assert expected in json.dumps(response.json())


def test_metadata_of_tensorflow_serving(served: Served) -> None:
    document = served.server.get(f"/v1/models/{TENSOR}/metadata").json()
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    dimensions = signature["inputs"]["image"]["tensor_shape"]["dim"]
    assert [int(dimension["size"]) for dimension in dimensions] == [-1, *served.shape]


def test_model_card(served: Served) -> None:
    card = served.server.get("/model").json()
    assert card["preprocessing"] == served.predictor.preprocessing.to_json()
    assert card["input"] == served.input
    page = served.server.get("/model", headers={"Accept": "text/html"}).text
    assert served.input in page


def test_it_is_ready_and_says_so(served: Served) -> None:
    ready = served.server.get("/readyz").json()
    assert (ready["status"], ready["golden_images"]) == ("ready", 3)
    assert [entry["name"] for entry in served.server.post("/v2/repository/index").json()] == [MODEL, TENSOR]
