"""Whoever asks, by whichever protocol, the answer about an image is the same, and MLflow's own is too."""

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
def predictor(everywhere: Server) -> Predictor:
    """The predictor of the very bundle that the server has."""
    return Predictor.open(everywhere.folder / "models/colours/bundle")


@pytest.fixture(scope="module")
def pyfunc(everywhere: Server) -> Any:  # noqa: ANN401  (MLflow's own)
    """What MLflow makes of the same bundle."""
    return mlflow.pyfunc.load_model(str(everywhere.folder / "models/colours/bundle"))


@pytest.mark.parametrize("image", IMAGES, ids=range(len(IMAGES)))
@pytest.mark.parametrize("name", CALLS)
def test_every_protocol_gives_the_predictors_answer(
    everywhere: Server, predictor: Predictor, name: str, image: bytes
) -> None:
    answer = ask(everywhere, CALLS[name].request(image))
    assert answer.status == 200, answer.body
    # /predict alone rounds, to six digits.
    assert CALLS[name].read(answer) == pytest.approx(predictor.classify(image).tolist(), abs=5e-7)


@pytest.mark.parametrize("name", CALLS)
def test_every_answer_says_who_gave_it(everywhere: Server, name: str) -> None:
    answer = ask(everywhere, CALLS[name].request(IMAGES[0]))
    digest = Bundle.open(everywhere.folder / "models/colours/bundle").digest
    assert answer.headers["x-model-digest"] == digest
    assert answer.headers["x-request-id"]
    assert "inference;dur=" in answer.headers["server-timing"]
    assert digest.encode() in answer.body or not name.startswith("open inference")


def test_mlflow_loads_the_bundle_and_answers_the_same(everywhere: Server, pyfunc: Any) -> None:  # noqa: ANN401
    body = {"dataframe_split": {"columns": ["image"], "data": [[base64(image)] for image in IMAGES]}}
    answer = everywhere.post("/invocations", json=body).json()
    assert answer == {"predictions": pyfunc.predict(IMAGES)}


def test_through_mlflow_text_and_pillow_are_answered_as_bytes_are_and_paths_refused(pyfunc: Any) -> None:  # noqa: ANN401
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
def test_answers_are_those_of_mlflows_own_server(everywhere: Server, pyfunc: Any, name: str) -> None:  # noqa: ANN401
    body = json.dumps(FORMS[name])
    score: Any = scoring_server.invocations
    theirs = score(body, "application/json", pyfunc, pyfunc.metadata.get_input_schema())
    ours = everywhere.post("/invocations", data=body, headers={"Content-Type": "application/json"})
    assert (ours.status_code, ours.json()) == (theirs.status, json.loads(theirs.response))
    assert ours.headers["Content-Type"] == theirs.mimetype
