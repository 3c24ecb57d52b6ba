"""Triton's client, unmodified: all of its requests, and how it reads the responses."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import LABELS as LABELS_FILE
from tests.serving.api.protocols.calls import HEADER, LABELS, MODEL, TENSOR
from tests.serving.bundles import COLOURS, SIZE, expected_probabilities, one_colour_png
from tests.serving.servers import Server, publish, running

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
OUTPUT = "probabilities"
PIXELS = np.stack([np.full((SIZE, SIZE, 3), rgb, dtype=np.uint8) for rgb in COLOURS.values()])
ANSWERS = np.array([expected_probabilities(rgb) for rgb in COLOURS.values()])


@pytest.fixture(scope="module")
def client(protocol_server: Server) -> Iterator[Any]:
    """A client, and its connections, for all tests."""
    with triton.InferenceServerClient(f"127.0.0.1:{protocol_server.port}", concurrency=4) as opened:
        yield opened


def encoded(*images: bytes, binary: bool = True, column: bool = False) -> Any:  # noqa: ANN401
    """An input of images: binary, or as base64 in JSON."""
    # dtype=object, because NumPy's bytes type drops trailing zeros.
    values = np.array([image if binary else b64encode(image) for image in images], dtype=object)
    values = values.reshape(-1, 1) if column else values
    made = triton.InferInput("image", values.shape, "BYTES")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def pixels(values: Any, binary: bool = True) -> Any:  # noqa: ANN401  (an array)
    """An input of pixels."""
    made = triton.InferInput("image", values.shape, "UINT8")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def wanted(**options: Any) -> list[Any]:  # noqa: ANN401
    """The requested output with some options."""
    return [triton.InferRequestedOutput(OUTPUT, **options)]


def test_health(client: Any) -> None:  # noqa: ANN401
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(TENSOR, "3")
    assert not client.is_model_ready(MODEL, "4")
    assert not client.is_model_ready("nobody")


def test_metadata_and_config(client: Any) -> None:  # noqa: ANN401
    assert {"binary_tensor_data", "classification"} <= set(client.get_server_metadata()["extensions"])
    for name, kind, shape in ((MODEL, "BYTES", [1]), (TENSOR, "UINT8", [SIZE, SIZE, 3])):
        metadata = client.get_model_metadata(name, "3")
        assert (metadata["name"], metadata["versions"]) == (name, ["3"])
        assert metadata["inputs"] == [{"name": "image", "datatype": kind, "shape": [-1, *shape]}]
        assert metadata["outputs"] == [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 3]}]
        config = client.get_model_config(name)
        assert config["max_batch_size"] == 16
        assert config["input"][0]["dims"] == [str(size) for size in shape]
    assert client.get_model_config(TENSOR)["input"][0]["format"] == "FORMAT_NHWC"


def test_repository(client: Any) -> None:  # noqa: ANN401
    index = client.get_model_repository_index()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        (MODEL, "3", "READY"),
        (TENSOR, "3", "READY"),
    ]
    for refused in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="the pin in git") as caught:
            refused(MODEL)
        assert caught.value.status() == "403"


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_images(client: Any, binary_in: bool, binary_out: bool, column: bool) -> None:  # noqa: ANN401
    given = encoded(RED, GREEN, BLUE, binary=binary_in, column=column)
    result = client.infer(MODEL, [given], outputs=wanted(binary_data=binary_out))
    responses = result.as_numpy(OUTPUT)
    assert (responses.dtype, responses.shape) == (np.float32, (3, 3))
    assert responses == pytest.approx(ANSWERS, abs=1e-3)


@pytest.mark.parametrize("binary", [False, True])
def test_tensors(client: Any, binary: bool) -> None:  # noqa: ANN401
    responses = client.infer(TENSOR, [pixels(PIXELS, binary)]).as_numpy(OUTPUT)
    # Exactly equal: the same pixels as an encoded image.
    assert (responses == client.infer(MODEL, [encoded(RED, GREEN, BLUE)]).as_numpy(OUTPUT)).all()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [False, True])
def test_compression(client: Any, algorithm: str, binary: bool) -> None:  # noqa: ANN401
    result = client.infer(
        TENSOR,
        [pixels(PIXELS, binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy(OUTPUT) == pytest.approx(ANSWERS, abs=1e-3)


@pytest.mark.parametrize(("requested", "given"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
@pytest.mark.parametrize("binary", [False, True])
def test_classification(client: Any, requested: int, given: int, binary: bool) -> None:  # noqa: ANN401
    outputs = wanted(class_count=requested, binary_data=binary)
    rows = client.infer(MODEL, [encoded(BLUE, RED)], outputs=outputs).as_numpy(OUTPUT)
    assert rows.shape == (2, given)
    for row, best in zip(rows, ("blue", "red"), strict=True):
        texts = [text.decode() if isinstance(text, bytes) else text for text in row]
        values, indices, names = zip(*(text.split(":") for text in texts), strict=True)
        assert names[0] == best
        assert [LABELS[int(index)] for index in indices] == list(names)
        assert sorted(map(float, values), reverse=True) == list(map(float, values))
        assert float(values[0]) == pytest.approx(ANSWERS.max(), abs=1e-3)


def test_response_names_model_request_and_digest(client: Any, protocol_server: Server) -> None:  # noqa: ANN401
    response = client.infer(MODEL, [encoded(RED)], model_version="3", request_id="mine").get_response()
    digest = Bundle.open(protocol_server.folder / "models/colours/bundle").digest
    assert (response["model_name"], response["model_version"], response["id"]) == (MODEL, "3", "mine")
    assert response["parameters"] == {"model_digest": digest}
    assert "id" not in client.infer(MODEL, [encoded(RED)]).get_response()


def test_unknown_parameters_are_ignored(client: Any) -> None:  # noqa: ANN401
    options = {"sequence_id": 7, "sequence_start": True, "priority": 1, "timeout": 10**6}
    result = client.infer(MODEL, [encoded(RED)], parameters={"x": "y"}, query_params={"a": 1}, **options)
    assert result.as_numpy(OUTPUT).argmax() == 0


def test_asynchronous_requests(client: Any) -> None:  # noqa: ANN401
    requests = [client.async_infer(MODEL, [encoded(image)]) for image in (RED, GREEN, BLUE) * 4]
    assert [request.get_result().as_numpy(OUTPUT).argmax() for request in requests] == [0, 1, 2] * 4


def test_asyncio(protocol_server: Server) -> None:
    async def ask() -> Any:  # noqa: ANN401
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{protocol_server.port}") as client:
            assert await client.is_server_ready()
            return await client.infer(MODEL, [encoded(GREEN)], request_compression_algorithm="gzip")

    assert asyncio.run(ask()).as_numpy(OUTPUT).argmax() == 1


def test_bodies_that_the_client_generates_and_parses(protocol_server: Server) -> None:
    body, size = triton.InferenceServerClient.generate_request_body([encoded(BLUE)])
    response = protocol_server.post(f"/v2/models/{MODEL}/infer", data=body, headers={HEADER: str(size)})
    result = triton.InferenceServerClient.parse_response_body(
        response.content, header_length=int(response.headers[HEADER])
    )
    assert result.as_numpy(OUTPUT).argmax() == 2


@pytest.mark.parametrize(("name", "body"), [(MODEL, BLUE), (TENSOR, PIXELS[2:].tobytes())])
def test_raw_binary_requests(protocol_server: Server, name: str, body: bytes) -> None:
    response = protocol_server.post(f"/v2/models/{name}/infer", data=body, headers={HEADER: "0"})
    assert response.headers["Content-Type"] == "application/octet-stream"
    result = triton.InferResult.from_response_body(
        response.content, header_length=int(response.headers[HEADER])
    )
    assert result.as_numpy(OUTPUT).argmax() == 2


# Request, status and a part of the sentence.
WRONG: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "model": (lambda c: c.infer("nobody", [encoded(RED)]), "404", "no such model"),
    "version": (lambda c: c.infer(MODEL, [encoded(RED)], model_version="4"), "404", "no such version"),
    "metadata of nobody": (lambda c: c.get_model_metadata("nobody"), "404", "no such model"),
    "image": (lambda c: c.infer(MODEL, [encoded(b"?")]), "400", "not an image"),
    "type": (lambda c: c.infer(MODEL, [pixels(PIXELS)]), "400", "BYTES of the shape"),
    "shape": (lambda c: c.infer(TENSOR, [pixels(PIXELS[:, :4])]), "400", "UINT8 of the shape [N,8,8,3]"),
    "rank": (lambda c: c.infer(TENSOR, [pixels(PIXELS[0])]), "400", "UINT8 of the shape"),
    "no image": (lambda c: c.infer(TENSOR, [pixels(PIXELS[:0])]), "400", "UINT8 of the shape"),
    "too many": (lambda c: c.infer(MODEL, [encoded(*[RED] * 17)]), "400", "17 images"),
    "two inputs": (lambda c: c.infer(MODEL, [encoded(RED), encoded(RED)]), "400", "exactly one input"),
    "output": (
        lambda c: c.infer(MODEL, [encoded(RED)], outputs=[triton.InferRequestedOutput("logits")]),
        *("400", "one output"),
    ),
    "shared memory": (lambda c: c.get_system_shared_memory_status(), "404", "nothing at this path"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_by_status(client: Any, name: str) -> None:  # noqa: ANN401
    call, status, part = WRONG[name]
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert caught.value.status() == status
    assert part in caught.value.message()


def test_statistics_count(tmp_path: Path) -> None:
    with (
        running(publish(tmp_path)) as server,
        triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        began = time.time()
        client.infer(MODEL, [encoded(RED, BLUE)])
        client.infer(MODEL, [encoded(RED)], model_version="3")
        server.post("/predict", data=RED)
        with pytest.raises(InferenceServerException):
            client.infer(MODEL, [encoded(b"?")])
        images, tensors = client.get_inference_statistics()["model_stats"]
        assert client.get_inference_statistics(MODEL, "3")["model_stats"] == [images]
        # The statistics include the requests of all protocols.
        assert (images["inference_count"], images["inference_stats"]["success"]["count"]) == (4, 3)
        assert images["inference_stats"]["fail"]["count"] == 1
        assert began <= images["last_inference"] / 1000 + 0.001 <= time.time() + 0.001
        times = {name: spent["ns"] for name, spent in images["inference_stats"].items()}
        assert 0 < times["compute_input"] + times["compute_infer"] + times["queue"] <= times["success"]
        assert (tensors["name"], tensors["inference_count"], tensors["last_inference"]) == (TENSOR, 0, 0)


def test_colons_in_labels_are_escaped(tmp_path: Path) -> None:
    labels = [{"id": f"c{number}", "name": name} for number, name in enumerate(("a:b", "50%", "c"))]
    with (
        running(publish(tmp_path, extra={LABELS_FILE: to_json(labels)})) as server,
        triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        (row,) = client.infer(MODEL, [encoded(RED)], outputs=wanted(class_count=3)).as_numpy(OUTPUT)
        assert [text.decode().split(":")[2] for text in row] == ["a%3Ab", "50%25", "c"]
