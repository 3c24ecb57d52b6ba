"""Unmodified clients of other projects, and the requests in their documentation."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.serving.api.protocols.calls import LABELS, MODEL, TENSOR
from tests.serving.api.protocols.calls import base64 as b64
from tests.serving.bundles import COLOURS, SIZE, one_colour_png
from tests.serving.servers import Server

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file with an image."""
    path = tmp_path / "photo.png"
    path.write_bytes(GREEN)
    return path


# Hugging Face.


@pytest.fixture
def classify(protocol_server: Server) -> Callable[..., list[Any]]:
    """`image_classification` of their client, with the server's URL as the model."""
    client = InferenceClient(token="none")  # noqa: S106  (without one it would look for a real one)
    url = f"{protocol_server.url}/hf/classify"
    return lambda image, **options: list(client.image_classification(image, model=url, **options))


def test_hugging_face_bytes_and_files(classify: Callable[..., list[Any]], photo: Path) -> None:
    for image, best in ((RED, "red"), (photo, "green"), (str(photo), "green")):
        found = classify(image)
        assert found[0].label == best
        assert sum(element.score for element in found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("top", "given"), [(1, 1), (2, 2), (10, 3)])
def test_hugging_face_top_k(classify: Callable[..., list[Any]], top: int, given: int) -> None:
    found = classify(BLUE, top_k=top)
    assert len(found) == given
    assert found[0].label == "blue"


def test_hugging_face_function(classify: Callable[..., list[Any]]) -> None:
    assert classify(BLUE, function_to_apply="softmax") == classify(BLUE)
    with pytest.raises(HfHubHTTPError, match="function_to_apply"):
        classify(BLUE, function_to_apply="sigmoid")


def test_hugging_face_error(classify: Callable[..., list[Any]]) -> None:
    with pytest.raises(HfHubHTTPError, match="not an image") as caught:
        classify(b"?")
    assert caught.value.response.status_code == 415


# MLflow.


@pytest.fixture
def scoring(protocol_server: Server) -> Any:  # noqa: ANN401  (it has no types)
    """MLflow's own client."""
    client: Any = ScoringServerClient
    return client("127.0.0.1", protocol_server.port)


def test_mlflow_client_waits_and_asks_for_the_version(scoring: Any) -> None:  # noqa: ANN401
    scoring.wait_server_ready(timeout=5)
    # This server's own `/version`, because the client sends no preference in Accept.
    assert json.loads(scoring.get_version())["name"] == MODEL


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"image": [b64(RED), b64(BLUE)]}),
        pd.DataFrame([b64(RED), b64(BLUE)]),
        [b64(RED), b64(BLUE)],
        np.array([b64(RED), b64(BLUE)]),
        json.dumps({"instances": [{"image": b64(RED)}, {"image": b64(BLUE)}]}),
        json.dumps({"inputs": {"image": [b64(RED), b64(BLUE)]}}),
        json.dumps({"inputs": [[b64(RED)], [b64(BLUE)]]}),
        # Lines of 76 characters, as MLflow's own encoder writes them.
        json.dumps({"dataframe_records": [{"x": base64.encodebytes(i).decode()} for i in (RED, BLUE)]}),
    ],
    ids=["frame", "frame without names", "list", "array", "instances", "inputs", "rows", "lines"],
)
def test_mlflow_client_invokes(scoring: Any, data: Any) -> None:  # noqa: ANN401
    response = scoring.invoke(data)
    assert [scores[0]["label"] for scores in response["predictions"]] == ["red", "blue"]
    assert list(response.get_predictions().shape) == [2, 3]


def test_mlflow_client_passes_parameters(scoring: Any) -> None:  # noqa: ANN401
    assert len(scoring.invoke([b64(RED)], params={"top": 2})["predictions"][0]) == 2
    with pytest.raises(Exception, match=r"error code 400.*document_malformed"):
        scoring.invoke([b64(RED)], params={"temperature": 2})


def test_mlflow_version(protocol_server: Server) -> None:
    response = protocol_server.get("/version", headers={"Accept": "text/plain"})
    assert re.fullmatch(r"\d+\.\d+\.\d+", response.text)
    assert protocol_server.get("/version").json()["name"] == MODEL


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_mlflow_health(protocol_server: Server, path: str) -> None:
    response = protocol_server.get(path)
    assert (response.status_code, response.content) == (200, b"\n")


TABLE = b"image\n" + base64.b64encode(RED)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", TABLE),
        ("application/vnd.apache.parquet", b"PAR1"),
        ("application/json; charset=latin-1", b"{}"),
        ("application/json; format=pandas-split", b"{}"),
        ("application/x-www-form-urlencoded", b"{}"),
        ("", json.dumps({"inputs": [b64(RED)]}).encode()),
    ],
)
def test_mlflow_decides_by_type(protocol_server: Server, kind: str, body: bytes) -> None:
    # `requests` sends no Content-Type with bytes.
    headers = {"Content-Type": kind} if kind else {}
    response = protocol_server.post("/invocations", data=body, headers=headers)
    assert response.status_code == 415
    assert response.json().items() >= {"error_code": "BAD_REQUEST", "code": "type_unknown"}.items()


# SageMaker and Vertex AI.


@pytest.mark.parametrize(
    "kind",
    [
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/x-image",
        "application/x-image",
        "application/octet-stream",
    ],
)
def test_sagemaker(protocol_server: Server, kind: str) -> None:
    response = protocol_server.post("/invocations", data=GREEN, headers={"Content-Type": kind})
    assert response.json()["predictions"][0][0]["label"] == "green"


def test_vertex_ai(protocol_server: Server) -> None:
    assert protocol_server.get("/vertex/health").status_code == 200
    body = {"instances": [{"b64": b64(RED)}, {"b64": b64(BLUE)}], "parameters": {"top": 1}}
    response = protocol_server.post("/vertex/predict", json=body).json()
    assert [[score["label"] for score in scores] for scores in response["predictions"]] == [["red"], ["blue"]]


# TensorFlow Serving: the commands of its documentation, with this model's name and this server's URL.

has_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
PIXELS = np.full((1, SIZE, SIZE, 3), COLOURS["green"], dtype=np.uint8).tolist()


def curl(server: Server, *arguments: str) -> Any:  # noqa: ANN401  (JSON)
    """The output of the real curl; the last argument is the path."""
    *options, path = arguments
    command = ["curl", "--silent", "--show-error", "--max-time", "20", *options, server.url + path]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@has_curl
@pytest.mark.parametrize("which", ["", "/versions/3", "/labels/champion"])
def test_tensorflow_serving_by_curl(protocol_server: Server, which: str) -> None:
    path = f"/v1/models/{MODEL}{which}"
    rows = {"instances": [{"b64": b64(GREEN)}, {"b64": b64(RED)}]}
    found = curl(protocol_server, "-d", json.dumps(rows), "-X", "POST", f"{path}:predict")
    assert [np.argmax(row) for row in found["predictions"]] == [1, 0]
    columns = {"signature_name": "serving_default", "inputs": {"image_bytes": [{"b64": b64(GREEN)}]}}
    found = curl(protocol_server, "-d", json.dumps(columns), "-X", "POST", f"{path}:predict")
    assert [np.argmax(row) for row in found["outputs"]] == [1]
    examples = {"examples": [{"image": {"b64": b64(BLUE)}}]}
    found = curl(protocol_server, "-d", json.dumps(examples), "-X", "POST", f"{path}:classify")
    assert found["results"][0][0][0] == "blue"
    status = curl(protocol_server, path)["model_version_status"]
    assert status == [
        {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    signature = curl(protocol_server, f"{path}/metadata")["metadata"]["signature_def"]["signature_def"]
    assert list(signature["serving_default"]["inputs"]) == ["image_bytes"]


@has_curl
@pytest.mark.parametrize(
    "body",
    [
        {"instances": PIXELS},
        {"instances": [{"image": image} for image in PIXELS]},
        {"inputs": PIXELS},
        {"inputs": {"image": PIXELS}},
    ],
)
def test_tensorflow_serving_takes_tensors(protocol_server: Server, body: dict[str, Any]) -> None:
    found = curl(protocol_server, "-d", json.dumps(body), f"/v1/models/{TENSOR}:predict")
    (row,) = found["predictions" if "instances" in body else "outputs"]
    assert np.argmax(row) == 1


@pytest.mark.parametrize("path", ["/V1/MODELS/colours/Versions/3:Predict", "/v1/Models/colours:PREDICT"])
def test_tensorflow_serving_reads_words_in_any_case(protocol_server: Server, path: str) -> None:
    assert protocol_server.post(path, json={"instances": [{"b64": b64(RED)}]}).status_code == 200
    # Names of models are case-sensitive.
    assert protocol_server.post(path.replace(MODEL, "Colours"), json={}).status_code == 404


def test_tensorflow_serving_has_no_regression(protocol_server: Server) -> None:
    response = protocol_server.post(f"/v1/models/{MODEL}:regress", json={"examples": [{"x": 1.0}]})
    assert (response.status_code, response.json()["code"]) == (400, "signature_wrong")


# KServe: the requests of its samples; their authorization header is ignored here.


def test_kserve(protocol_server: Server) -> None:
    assert requests.get(f"{protocol_server.url}/v1/models", timeout=9).json() == {"models": [MODEL, TENSOR]}
    ready = requests.get(f"{protocol_server.url}/v1/models/{MODEL}", timeout=9).json()
    assert (ready["name"], ready["ready"]) == (MODEL, True)
    body = {"instances": [{"image_bytes": {"b64": b64(BLUE)}, "key": "   1"}]}
    (row,) = requests.post(f"{protocol_server.url}/v1/models/{MODEL}:predict", json=body, timeout=9).json()[
        "predictions"
    ]
    assert LABELS[int(np.argmax(row))] == "blue"


def test_kserve_second_protocol(protocol_server: Server) -> None:
    assert protocol_server.get("/v2/health/live").json()["live"] is True
    assert protocol_server.get("/v2/health/ready").json()["ready"] is True
    assert protocol_server.get("/v2/models").json() == {"models": [MODEL, TENSOR]}
    # KServe's client repeats the model's name in the request and compares the whole Content-Type.
    body = {
        "model_name": MODEL,
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64(RED)]}],
    }
    response = protocol_server.post(f"/v2/models/{MODEL}/infer", json=body)
    assert response.headers["Content-Type"] == "application/json"
    assert np.argmax(response.json()["outputs"][0]["data"]) == 0
