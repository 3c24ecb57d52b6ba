"""Slots, keys, limits and deadlines apply to all protocols; each reports them in its own error format."""

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from tritonclient.utils import InferenceServerException

from tests.serving.api.blocking import occupied
from tests.serving.api.protocols.calls import CALLS, HEADER, JSON, MODEL, Call, base64
from tests.serving.api.protocols.conftest import VERTEX
from tests.serving.api.protocols.test_malformed_requests import (
    EACH,
    INFER,
    MEGABYTE,
    PREDICT_TENSOR,
    assert_error_format,
    given,
)
from tests.serving.api.protocols.test_triton_client import encoded
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_overload import SLOW, gauge
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import RawResponse, ask, head, post, read

RED = one_colour_png(COLOURS["red"])
KEY = "a key of the tests"
# One call of each protocol; the others differ only in the document.
ONE_EACH = [
    *("open inference", "open inference, raw", "tensorflow serving, rows", "tensorflow serving, classify"),
    *("mlflow, split", "sagemaker", "hugging face", "vertex ai"),
]
BODY_MB = 24


def assert_refused(call: Call, response: RawResponse, status: int, code: str) -> None:
    """Asserts an error in the format of the call's protocol."""
    assert response.status == status
    assert_error_format(call.path, response, code)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one slot and no queue, whose predictions a test can block."""
    folder, blocking = publish(tmp_path_factory.mktemp("narrow")), "tests.serving.api.blocking"
    with running(folder, module=blocking, slots=1, queue=0, **VERTEX) as started:
        yield started


@pytest.mark.parametrize("name", ONE_EACH)
def test_overload(narrow: Server, name: str) -> None:
    call = CALLS[name]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: ask(narrow, call.request(SLOW)), range(8)))
        statuses = Counter(response.status for response in responses)
        assert statuses[200] >= 1
        assert statuses[503] >= 1
        assert statuses.total() == statuses[200] + statuses[503]
    for response in responses:
        if response.status == 503:
            assert_refused(call, response, 503, "server_busy")
            assert int(response.headers["retry-after"]) >= 1
            assert not response.closed


def test_deadline(tmp_path: Path) -> None:
    statuses = {
        "open inference": 503,
        "tensorflow serving, rows": 504,
        "mlflow, split": 504,
        "sagemaker": 504,
    }
    folder, blocking = publish(tmp_path), "tests.serving.api.blocking"
    with (
        running(folder, module=blocking, slots=1, queue=10, deadline=4) as server,
        occupied(server),
        ThreadPoolExecutor(len(statuses)) as pool,
    ):
        pending = {name: pool.submit(ask, server, CALLS[name].request(RED)) for name in statuses}
        for name, status in statuses.items():
            response = pending[name].result()
            assert_refused(CALLS[name], response, status, "deadline_exceeded")
            assert response.headers["retry-after"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires a key and limits the rate of other clients."""
    settings = {"api_keys": hashlib.sha256(KEY.encode()).hexdigest(), "rate_limit": "1000/day"}
    with running(publish(tmp_path_factory.mktemp("guarded")), **settings, **VERTEX) as started:
        yield started


@pytest.mark.parametrize("name", ONE_EACH)
def test_keys(guarded: Server, name: str) -> None:
    call = CALLS[name]
    with guarded.connect() as connection:
        for lines, status, code in (
            ((), 401, "api_key_missing"),
            (("X-API-Key: another",), 401, "api_key_unknown"),
            ((f"Authorization: Bearer {KEY}",), 200, ""),
        ):
            connection.sendall(post(call.path, call.body(RED), *call.lines, *lines))
            response = read(connection)
            assert response.status == status
            if code:
                assert_refused(call, response, status, code)
                assert response.headers["www-authenticate"] == "Bearer"


def test_keys_as_the_clients_send_them(guarded: Server) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{guarded.port}") as client:
        image = encoded(RED)
        with pytest.raises(InferenceServerException) as caught:
            client.infer(MODEL, [image])
        assert caught.value.status() == "401"
        result = client.infer(MODEL, [image], headers={"X-API-Key": KEY})
        assert result.as_numpy("probabilities").argmax() == 0
    hugging_face = InferenceClient(token=KEY)
    assert hugging_face.image_classification(RED, model=f"{guarded.url}/hf/classify")[0].label == "red"


OPEN_TO_ALL = [
    *("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/ready"),
    *(f"/v2/models/{MODEL}/config", f"/v2/models/{MODEL}/stats", f"/v1/models/{MODEL}", "/v1/models"),
    *(f"/v1/models/{MODEL}/metadata", "/ping", "/health", "/version", "/vertex/health"),
]


@pytest.mark.parametrize("path", OPEN_TO_ALL)
def test_health_and_metadata_want_no_key(guarded: Server, path: str) -> None:
    assert ask(guarded, head("GET", path)).status == 200


def test_rate_limit(tmp_path: Path) -> None:
    calls = [CALLS[name] for name in ONE_EACH]
    with running(publish(tmp_path), rate_limit="3/day", **VERTEX) as server:
        for call in calls[:3]:
            assert ask(server, call.request(RED)).status == 200
        for call in calls:
            response = ask(server, call.request(RED))
            assert_refused(call, response, 429, "rate_limited")
            assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("compress", [False, True])
def test_body_limit(protocol_server: Server, name: str, compress: bool) -> None:
    call = CALLS[name]
    limit = BODY_MB * 2**20
    for size, status in ((limit, 400), (limit + 1, 413)):
        sent = gzip.compress(bytes(size)) if compress else bytes(size)
        lines = ["Content-Encoding: gzip"] if compress else []
        response = ask(protocol_server, post(call.path, sent, *call.lines, *lines))
        # Zeros are neither a document nor an image.
        assert response.status in ({400, 413, 415} if status == 400 else {413})
        too_large = "body_too_large" if status == 413 else ""
        assert_error_format(call.path, response, too_large)
        assert (response.json["code"] == "body_too_large") == bool(too_large)


def test_chunks_are_bounded(protocol_server: Server) -> None:
    frame = b"100000\r\n" + bytes(2**20) + b"\r\n"
    with protocol_server.connect() as connection:
        connection.sendall(head("POST", INFER, "Transfer-Encoding: chunked"))
        connection.sendall(frame * BODY_MB + b"1\r\nx\r\n0\r\n\r\n")
        response = read(connection)
    assert response.status == 413
    assert_error_format(INFER, response, "body_too_large")


def test_images_are_counted(tmp_path: Path) -> None:
    with running(publish(tmp_path), max_images=2, **VERTEX) as server:
        for count, status in ((2, 200), (3, 400)):
            b64 = base64(RED)
            responses = [
                server.post(f"/v1/models/{MODEL}:predict", json={"instances": [{"b64": b64}] * count}),
                server.post(
                    f"/v1/models/{MODEL}:classify", json={"examples": [{"image": {"b64": b64}}] * count}
                ),
                server.post("/invocations", json={"inputs": [b64] * count}),
                server.post("/vertex/predict", json={"instances": [{"b64": b64}] * count}),
                server.post(INFER, json={"inputs": [given(shape=[count], data=[b64] * count)]}),
                server.post(
                    "/v2/models/colours_tensor/infer", data=bytes(EACH * count), headers={HEADER: "0"}
                ),
            ]
            assert [response.status_code for response in responses] == [status] * len(responses)
            assert status == 200 or {response.json()["code"] for response in responses} == {"images_too_many"}


def measure_growth(server: Server, request: bytes) -> tuple[RawResponse, int]:
    """The response to a request, and the growth of the worker's memory for it in MB."""
    proc = Path(f"/proc/{server.worker.pid}")

    def megabytes(what: str) -> int:
        found = re.search(rf"{what}:\s+(\d+) kB", (proc / "status").read_text())
        assert found
        return int(found[1]) // 1024

    # Resets the peak (VmHWM) that the kernel records.
    (proc / "clear_refs").write_text("5")
    before = megabytes("VmRSS")
    response = ask(server, request)
    return response, megabytes("VmHWM") - before


NUMBERS = b'{"instances":[' + b"0," * (12 * MEGABYTE - 20) + b"0]}"
LISTS = b'{"%b":[' + b"[]," * (8 * MEGABYTE) + b"[]]}"
OBJECTS = b'{"inputs":[' + b"{}," * (8 * MEGABYTE) + b"{}]}"
# Bodies that take much memory to parse.
COSTLY = {
    "image in base64": CALLS["open inference"].request(bytes(17 * MEGABYTE)),
    "image in base64, in lines": post(
        "/invocations", b'{"inputs":["' + (b"A" * 76 + rb"\n") * 300_000 + b'"]}', JSON
    ),
    "image behind a document": CALLS["open inference, raw"].request(bytes(19 * MEGABYTE)),
    "numbers": post(PREDICT_TENSOR, NUMBERS),
    "lists for pixels": post(PREDICT_TENSOR, LISTS % b"instances"),
    "lists for images": post(f"/v1/models/{MODEL}:predict", LISTS % b"instances"),
    "lists for records": post("/invocations", LISTS % b"inputs", JSON),
    "objects": post(INFER, OBJECTS),
    "a bomb": post(INFER, gzip.compress(bytes(200 * MEGABYTE)), "Content-Encoding: gzip"),
    "a bomb of spaces": post(INFER, gzip.compress(b" " * 24 * MEGABYTE), "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_memory_is_bounded(narrow: Server, name: str) -> None:
    response, megabytes = measure_growth(narrow, COSTLY[name])
    assert response.status in (400, 413)
    # The body, its result and a temporary copy; nested Python lists would take twenty times the body.
    assert megabytes < 3.5 * BODY_MB
    assert gauge(narrow, "goldfish_body_bytes") == 0


def test_health_checks_of_all_protocols_have_their_own_threads(narrow: Server) -> None:
    with occupied(narrow):
        for path in ("/v2/health/live", "/v2/health/ready", "/ping", "/health", "/vertex/health"):
            assert ask(narrow, head("GET", path)).status == 200
        assert ask(narrow, CALLS["open inference"].request(RED)).status == 503


def test_not_ready_while_draining(tmp_path: Path) -> None:
    with running(publish(tmp_path), drain=3600, **VERTEX) as server:
        server.process.terminate()
        await_true(lambda: ask(server, head("GET", "/readyz")).status == 503)
        for path in (
            *("/v2/health/ready", f"/v2/models/{MODEL}/ready", f"/v1/models/{MODEL}"),
            *("/ping", "/health", "/vertex/health"),
        ):
            response = ask(server, head("GET", path))
            assert response.status == 503
            assert_error_format(path, response, "not_ready")
        assert ask(server, head("GET", "/v2/health/live")).json == {"live": True}
        index = ask(server, post("/v2/repository/index", b"{}")).json
        assert {entry["state"] for entry in index} == {"UNAVAILABLE"}
        # Requests are still processed during the drain window, which a second signal ends.
        assert ask(server, CALLS["open inference"].request(RED)).status == 200
        server.process.terminate()
        assert server.process.wait(TIMEOUT) == 0


def test_metrics_and_log_name_routes_and_no_names_of_clients(protocol_server: Server) -> None:
    for name in ("nobody-knows-this-name", "nor-this"):
        for path in (f"/v2/models/{name}/infer", f"/v1/models/{name}:predict", f"/v1/{name}", f"/hf/{name}"):
            ask(protocol_server, post(path, RED))
    metrics = protocol_server.get("/metrics").text
    assert 'route="/v2/models/<name>/infer",status="404"' in metrics
    assert "nobody-knows" not in metrics
    assert "nobody-knows" not in (protocol_server.folder / "log").read_text()
    # The route in the log has no version or label.
    ask(protocol_server, CALLS["open inference, binary"].request(RED))
    line = protocol_server.log()[-1]
    assert (line["route"], line["status"]) == ("/v2/models/<name>/infer", 200)
    assert line["images"] == [{"format": "PNG", "width": 12, "height": 10, "bytes": len(RED)}]
