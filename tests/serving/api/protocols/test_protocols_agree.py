"""All protocols return the same predictions for an image, which equal those of MLflow itself."""

import io
import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from PIL import Image

from serving.artifact.bundle import Bundle
from serving.errors import InputUnsupported
from serving.model.predictor import Predictor
from tests.serving.api.protocols.calls import CALLS, base64
from tests.serving.api.test_routes import noise
from tests.serving.images import CORPUS
from tests.serving.servers import Server
from tests.serving.wire import ask

IMAGES = [noise(1), noise(2), CORPUS["jpeg cmyk"][0], CORPUS["png rgba"][0], CORPUS["webp"][0]]


@pytest.fixture(scope="module")
def predictor(protocol_server: Server) -> Predictor:
    """The predictor of the server's bundle."""
    return Predictor.open(protocol_server.folder / "models/colours/bundle")


@pytest.fixture(scope="module")
def pyfunc(protocol_server: Server) -> Any:  # noqa: ANN401  (MLflow's own)
    """The same bundle, loaded by MLflow."""
    return mlflow.pyfunc.load_model(str(protocol_server.folder / "models/colours/bundle"))


@pytest.mark.parametrize("image", IMAGES, ids=range(len(IMAGES)))
@pytest.mark.parametrize("name", CALLS)
def test_every_protocol_returns_the_predictions_of_the_predictor(
    protocol_server: Server, predictor: Predictor, name: str, image: bytes
) -> None:
    response = ask(protocol_server, CALLS[name].request(image))
    assert response.status == 200, response.body
    # Only /predict rounds, to six digits.
    assert CALLS[name].read(response) == pytest.approx(predictor.classify(image).tolist(), abs=5e-7)


@pytest.mark.parametrize("name", CALLS)
def test_every_response_has_the_digest(protocol_server: Server, name: str) -> None:
    response = ask(protocol_server, CALLS[name].request(IMAGES[0]))
    digest = Bundle.open(protocol_server.folder / "models/colours/bundle").digest
    assert response.headers["x-model-digest"] == digest
    assert response.headers["x-request-id"]
    assert "inference;dur=" in response.headers["server-timing"]
    assert digest.encode() in response.body or not name.startswith("open inference")


def test_mlflow_loads_the_bundle_and_predicts_the_same(protocol_server: Server, pyfunc: Any) -> None:  # noqa: ANN401
    body = {"dataframe_split": {"columns": ["image"], "data": [[base64(image)] for image in IMAGES]}}
    response = protocol_server.post("/invocations", json=body).json()
    assert response == {"predictions": pyfunc.predict(IMAGES)}


def test_pyfunc_accepts_base64_and_pillow_images_and_refuses_paths(pyfunc: Any) -> None:  # noqa: ANN401
    expected = pyfunc.predict(IMAGES)
    texts = [base64(image) for image in IMAGES]
    assert pyfunc.predict(texts) == pyfunc.predict(pd.DataFrame({"image": texts})) == expected
    pillow = [Image.open(io.BytesIO(IMAGES[3])), f"data:image/png;base64,{texts[3]}"]
    assert pyfunc.predict(pillow) == [expected[3]] * 2
    for wrong in (["photo.png"], [Path("photo.png")], "photo.png"):
        with pytest.raises(InputUnsupported):
            pyfunc.predict(wrong)


FORMS: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": ["image"], "data": [[base64(i)] for i in IMAGES]}},
    "split with index": {"dataframe_split": {"index": [7, 8], "data": [[base64(i)] for i in IMAGES[:2]]}},
    "records": {"dataframe_records": [{"photo": base64(image)} for image in IMAGES]},
}


@pytest.mark.parametrize("name", FORMS)
def test_predictions_equal_those_of_mlflow(protocol_server: Server, pyfunc: Any, name: str) -> None:  # noqa: ANN401
    body = json.dumps(FORMS[name])
    score: Any = scoring_server.invocations
    theirs = score(body, "application/json", pyfunc, pyfunc.metadata.get_input_schema())
    ours = protocol_server.post("/invocations", data=body, headers={"Content-Type": "application/json"})
    assert (ours.status_code, ours.json()) == (theirs.status, json.loads(theirs.response))
    assert ours.headers["Content-Type"] == theirs.mimetype
