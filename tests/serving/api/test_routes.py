"""Requests and responses of each route over HTTP, first those of the tutorial."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from serving.artifact.bundle import Bundle
from serving.artifact.manifest import FLOAT_GRAPH
from serving.artifact.release import find_release
from serving.config import Settings
from serving.model.predictor import Predictor
from tests.serving.bundles import COLOURS, TOLERANCE, one_colour_png
from tests.serving.images import encode_image
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, chunked, head

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
MAX_IMAGES = 16
MEGABYTE = 2**20

# Members of a response of /predict that depend on the model.
JUDGEMENTS = ("set", "level", "familiar")
# Keyword arguments of `requests`.
Options = dict[str, Any]


@pytest.fixture(scope="module")
def model(server: Server) -> Predictor:
    """The predictor of the server's bundle."""
    return Predictor.open(server.folder / "models/colours/bundle")


def upload(*images: bytes, field: str = "image") -> Options:
    """A form with files."""
    return {"files": [(field, ("a.png", image)) for image in images]}


def form_by_hand(*parts: bytes) -> Options:
    """A form made by hand from the parts between its boundaries."""
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


def check_problem(response: requests.Response, status: int, code: str, index: int | None = None) -> str:
    """Asserts that a response is a problem document without internals; returns its sentence."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    detail = response.json()["detail"]
    assert response.json() == {
        "type": f"/docs#{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": response.headers["X-Request-Id"],
        **({} if index is None else {"index": index}),
    }
    assert re.fullmatch(r"[A-Z].*[.?]", detail)
    assert not re.search(r"Traceback|0x|\.py\b|Error\(", response.text)
    # The only paths in it are the server's own routes.
    assert set(re.findall(r"(?<!\w)/[\w.-]+", response.text)) <= {"/docs", "/predict"}
    return str(detail)


# Clients by their header Accept, and whether they get the page.
CLIENTS: dict[str, tuple[str | None, bool]] = {
    "curl": ("*/*", False),
    "a program without the header": (None, False),
    "a program": ("application/json", False),
    "a program that takes both": ("application/json, text/html;q=0.9", False),
    "a program that takes neither": ("image/png", False),
    "a program with a broken header": (";;q=,", False),
    "a browser": (BROWSER, True),
    "a browser that says less": ("text/html", True),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_home(server: Server, name: str) -> None:
    accept, page = CLIENTS[name]
    response = server.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert "Accept" in response.headers["Vary"]
    if page:
        assert response.headers["Content-Type"].startswith("text/html")
        assert response.text.lower().startswith("<!doctype html>")
    else:
        assert response.headers["Content-Type"] == "application/json"
        assert response.json() == {"outcome": "endpoint working successfully"}


def curl(*arguments: object) -> str:
    """The output of the real curl."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


has_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")


@has_curl
def test_tutorial_home_by_curl(server: Server) -> None:
    assert json.loads(curl(server.url + "/")) == {"outcome": "endpoint working successfully"}


@has_curl
@pytest.mark.parametrize("option", ["-F", "--data-binary"])
def test_tutorial_inference_by_curl(server: Server, model: Predictor, tmp_path: Path, option: str) -> None:
    photo = tmp_path / "x.jpg"
    photo.write_bytes(encode_image(Image.new("RGB", (64, 48), (40, 90, 220)), "JPEG"))
    given = f"image=@{photo}" if option == "-F" else f"@{photo}"
    pairs = json.loads(curl(option, given, server.url + "/inference"), object_pairs_hook=list)
    assert [name for name, _ in pairs] == ["blue", "green", "red"]
    best = model.top(model.classify(photo.read_bytes()))
    assert [score for _, score in pairs] == pytest.approx([score.score for score in best], abs=1e-6)
    assert all(type(score) is float for _, score in pairs)


def test_tutorial_inference_by_requests(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(RED)
    with (tmp_path / "x.jpg").open("rb") as file:
        response = requests.post(server.url + "/inference", files={"image": file}, timeout=20).json()
    assert next(iter(response)) == "red"
    assert sum(response.values()) == pytest.approx(1, abs=1e-5)


def noise(seed: int) -> bytes:
    """Random pixels with more of some colours than of others."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, random.integers(1, 257, size=3), (60, 80, 3))
    return encode_image(Image.fromarray(pixels.astype(np.uint8)), "JPEG")


@pytest.mark.parametrize("seed", range(8))
def test_answer_is_the_predictors(server: Server, model: Predictor, seed: int) -> None:
    photo = noise(seed)
    expected = {score.label: score.score for score in model.top(model.classify(photo))}
    plain = server.post("/inference", data=photo).json()
    (scores,) = server.post("/predict", **upload(photo)).json()["predictions"]
    assert list(plain) == list(expected) == [score["label"] for score in scores]
    assert plain == pytest.approx(expected, abs=1e-6)
    assert {score["label"]: score["score"] for score in scores} == pytest.approx(expected, abs=1e-6)


def test_predict(server: Server) -> None:
    response = server.post("/predict", **upload(RED))
    document = response.json()
    assert document.keys() == {"predictions", "model", "milliseconds", "request_id", *JUDGEMENTS}
    assert [score["label"] for score in document["predictions"][0]] == ["red", "green", "blue"]
    assert [score["id"] for score in document["predictions"][0]] == ["c0", "c1", "c2"]
    digest = Bundle.open(server.folder / "models/colours/bundle").digest
    assert document["model"] == {"name": "colours", "version": 3, "digest": digest}
    assert document["milliseconds"].keys() == {"queue", "decode", "inference"}
    assert all(value >= 0 for value in document["milliseconds"].values())
    assert document["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("colour", "query", "found"),
    [
        ((255, 0, 0), "", [["red"], 0.95, True]),
        ((255, 255, 0), "", [["red", "green"], 0.95, True]),
        ((255, 255, 0), "?level=0.9", [["red"], 0.9, True]),
        ((0, 0, 0), "?level=0.95&top=1", [["red", "green", "blue"], 0.95, False]),
    ],
)
def test_label_set_and_familiarity(
    server: Server, colour: tuple[int, int, int], query: str, found: list[object]
) -> None:
    document = server.post(f"/predict{query}", **upload(one_colour_png(colour), RED)).json()
    assert [document["set"][0], document["level"], document["familiar"][0]] == found
    assert (document["set"][1], document["familiar"][1]) == (["red"], True)
    assert "abstained" not in document


@pytest.mark.parametrize("level", ["0.5", "", "95", "nan", "0.950"])
def test_a_level_that_was_not_measured_is_refused(server: Server, level: str) -> None:
    check_problem(server.post(f"/predict?level={level}", **upload(RED)), 400, "parameter_invalid")


def test_what_the_model_does_not_have_is_left_out(tmp_path: Path) -> None:
    with running(publish(tmp_path, trusted=False), abstain_below=0.9) as server:
        document = server.post("/predict", **upload(RED, one_colour_png((255, 255, 0)))).json()
        assert document["abstained"] == [False, True]
        assert not {"set", "level", "familiar"} & document.keys()
        check_problem(server.post("/predict?level=0.9", **upload(RED)), 400, "parameter_invalid")


def best(response: requests.Response) -> list[str]:
    """The best class of each image, for a response of either route."""
    document = response.json()
    if "predictions" in document:
        return [scores[0]["label"] for scores in document["predictions"]]
    return [next(iter(document))]


@pytest.mark.parametrize(
    "images", [[RED], [BLUE, RED, GREEN], [GREEN, GREEN], [RED, BLUE] * (MAX_IMAGES // 2)]
)
def test_several_images_are_answered_in_their_order(server: Server, images: list[bytes]) -> None:
    names = {RED: "red", GREEN: "green", BLUE: "blue"}
    assert best(server.post("/predict", **upload(*images))) == [names[image] for image in images]


@pytest.mark.parametrize("field", ["image", "images", "file", "files", "data"])
@pytest.mark.parametrize("path", ["/inference", "/predict"])
def test_names_of_the_field(server: Server, path: str, field: str) -> None:
    assert best(server.post(path, **upload(GREEN, field=field))) == ["green"]


def test_images_under_several_names_keep_their_order(server: Server) -> None:
    options = {
        "files": [("file", ("", BLUE)), ("image", ("a", RED)), ("other", ("a", b"?")), ("data", ("", GREEN))]
    }
    assert best(server.post("/predict", **options)) == ["blue", "red", "green"]


def test_other_fields_do_not_matter(server: Server) -> None:
    response = server.post("/predict", files={"image": ("ü\"%22'.png", RED)}, data={"comment": "hello"})
    assert best(response) == ["red"]


# Many clients send no type or a wrong one: curl --data-binary declares a form.
TYPES = [
    None, "", "image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded",
    "application/json", "text/plain; charset=utf-8", "multipart/mixed; boundary=b", "no type", "/;;=\"",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/inference", "/predict"])
@pytest.mark.parametrize("kind", TYPES)
def test_image_as_the_body(server: Server, path: str, kind: str | None) -> None:
    assert best(server.post(path, data=BLUE, headers={"Content-Type": kind})) == ["blue"]


@pytest.mark.parametrize(
    "kind",
    [
        *("multipart/form-data; boundary=b", 'multipart/form-data;charset=utf-8 ;Boundary="b"'),
        'Multipart/Form-Data; boundary="b"',
    ],
)
def test_form_by_hand(server: Server, kind: str) -> None:
    part = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + GREEN
    options = form_by_hand(part) | {"headers": {"Content-Type": kind}}
    assert best(server.post("/inference", **options)) == ["green"]


def test_image_in_chunks(server: Server) -> None:
    response = ask(server, chunked("/inference", RED[:20], RED[20:21], RED[21:]))
    assert next(iter(response.json)) == "red"


@pytest.mark.parametrize("top", [1, 2, 3])
def test_top(server: Server, top: int) -> None:
    document = server.post(f"/predict?top={top}", **upload(RED, BLUE)).json()
    for scores in document["predictions"]:
        assert len(scores) == top
        assert scores == sorted(scores, key=lambda score: -score["score"])


def test_inference_ignores_top(server: Server) -> None:
    # The model has only three classes.
    assert len(server.post("/inference?top=1", data=RED).json()) == len(COLOURS)


TOPS = ["0", "-1", "4", "1.0", "1e0", "+1", " 1", "", "x", "²", "٣", "1,2", "9" * 400, "null", "0x1"]


@pytest.mark.parametrize(
    "top",
    [
        *TOPS,
        "0000000019",
    ],
)
def test_wrong_top(server: Server, top: str) -> None:
    response = server.post("/predict", params={"top": top}, data=RED)
    assert "from 1 to 3" in check_problem(response, 400, "parameter_invalid")


# Path, request, status, code and a part of the sentence.
REFUSED: dict[str, tuple[str, Options, int, str, str]] = {
    "text instead of a file": (
        *("/inference", {"files": {"image": (None, "x.jpg")}}, 400),
        *("image_missing", "holds text, not a file"),
    ),
    "another field": ("/inference", upload(RED, field="photo"), 400, "image_missing", "called image"),
    "another field, text": (
        *("/predict", {"files": {"comment": (None, "x")}}, 400),
        *("image_missing", "called image"),
    ),
    "an empty form": ("/inference", form_by_hand(), 400, "image_missing", "The form is empty"),
    "a field without a name": (
        *("/predict", form_by_hand(b'Content-Disposition: form-data; filename="a"\r\n\r\n' + RED), 400),
        *("image_missing", "called image"),
    ),
    "several images on /inference": (
        "/inference",
        upload(RED, RED),
        400,
        "images_too_many",
        "/predict takes",
    ),
    "too many images": ("/predict", upload(*[RED] * (MAX_IMAGES + 1)), 400, "images_too_many", "takes 16"),
    "no body": ("/inference", {}, 400, "image_missing", "--data-binary"),
    "zero bytes": ("/predict", {"data": b""}, 400, "image_missing", "no body"),
    "a file of zero bytes": ("/predict", upload(b""), 400, "image_empty", "zero bytes"),
    "no file chosen in a browser": (
        *(
            "/inference",
            form_by_hand(b'Content-Disposition: form-data; name="image"; filename=""\r\n\r\n'),
            400,
        ),
        *("image_empty", "zero bytes"),
    ),
    "fields that are no form": (
        "/inference",
        {"data": {"image": "x"}},
        415,
        "image_unrecognised",
        "Send JPEG",
    ),
    "json": ("/predict", {"json": {"image": "aGVsbG8="}}, 415, "image_unrecognised", "Send JPEG"),
    "no form at all": (
        *("/predict", form_by_hand() | {"data": RED}, 400),
        *("multipart_malformed", "Let the client set"),
    ),
    "a form that breaks off": (
        *("/predict", form_by_hand() | {"data": form_by_hand(b"x: y\r\n\r\nz")["data"][:-9]}, 400),
        *("multipart_malformed", "breaks off"),
    ),
    "no boundary": (
        *("/inference", {"data": RED, "headers": {"Content-Type": "multipart/form-data"}}, 400),
        *("multipart_malformed", "no boundary"),
    ),
    "a body of 25 MB": (
        "/predict",
        {"data": bytes(25 * MEGABYTE)},
        413,
        "body_too_large",
        "25,165,824 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server: Server, name: str) -> None:
    path, options, status, code, part = REFUSED[name]
    assert part in check_problem(server.post(path, **options), status, code)


UNKNOWN = [
    "/nowhere",
    "/predict/x",
    "/Predict",
    "/inference.json",
    "/%00",
    "/%2e%2e/pins",
    "/admin?x=/docs",
    "/ä",
]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_path(server: Server, path: str, method: str) -> None:
    response = server.session.request(method, server.url + path, timeout=20)
    assert "/docs lists" in check_problem(response, 404, "route_unknown")


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/.",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/../app.py",
        "/static/%00",
    ],
)
def test_only_the_static_files_of_the_page_are_served(server: Server, path: str) -> None:
    assert ask(server, head("GET", path)).json["code"] == "route_unknown"


@pytest.mark.parametrize(
    "host", ["", "..", "a b", "[::", "a:b", "x" * 300, "<script>", "\xe4", "evil.example"]
)
@pytest.mark.parametrize("path", ["/", "/docs", "/model"])
def test_strange_host_causes_no_server_error(server: Server, path: str, host: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n"
    response = ask(server, request.encode("latin-1"))
    assert response.status in (200, 400)
    assert b"<script>/" not in response.body


GET, POST = {"GET", "HEAD", "OPTIONS"}, {"POST", "OPTIONS"}
METHODS = {
    "/": GET, "/docs": GET, "/openapi.json": GET, "/livez": GET, "/readyz": GET, "/version": GET,
    "/model": GET, "/metrics": GET, "/inference": POST, "/predict": POST,
}  # fmt: skip


@pytest.mark.parametrize("path", METHODS)
def test_wrong_method(server: Server, path: str) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - METHODS[path]:
        response = server.session.request(method, server.url + path, data=RED, timeout=20)
        assert set(response.headers["Allow"].split(", ")) == METHODS[path]
        if method != "HEAD":
            assert f"{method} is not allowed" in check_problem(response, 405, "method_not_allowed")


@pytest.mark.parametrize("path", METHODS)
def test_options(server: Server, path: str) -> None:
    response = server.session.options(server.url + path, timeout=20)
    assert (response.status_code, response.content) == (200, b"")
    assert set(response.headers["Allow"].split(", ")) == METHODS[path]


@pytest.mark.parametrize("path", [path for path, methods in METHODS.items() if "HEAD" in methods])
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_head_is_get_without_the_body(server: Server, path: str, accept: str) -> None:
    got = server.get(path, headers={"Accept": accept})
    head_response = server.session.head(server.url + path, headers={"Accept": accept}, timeout=20)
    assert (head_response.status_code, head_response.content) == (200, b"")
    # Headers that differ between two responses; the length of the metrics does too.
    other = {"Date", "X-Request-Id"} | ({"Content-Length"} if path == "/metrics" else set())
    assert without(head_response, other) == without(got, other)
    assert server.get("/livez").json() == {"status": "alive"}


def without(response: requests.Response, names: set[str]) -> dict[str, str]:
    """The headers without some of them."""
    return {name: value for name, value in response.headers.items() if name not in names}


@pytest.mark.parametrize("path", [path for path in METHODS if path != "/"])
def test_trailing_slash_does_not_matter(server: Server, path: str) -> None:
    method, data = ("POST", RED) if METHODS[path] == POST else ("GET", None)
    response = server.session.request(method, f"{server.url}{path}/", data=data, timeout=20)
    assert response.status_code == 200
    assert not response.history


SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
EVERY: dict[str, tuple[str, str, Options]] = {
    "home": ("GET", "/", {}),
    "page": ("GET", "/", {"headers": {"Accept": BROWSER}}),
    "docs": ("GET", "/docs", {}),
    "openapi": ("GET", "/openapi.json", {}),
    "metrics": ("GET", "/metrics", {}),
    "livez": ("GET", "/livez", {}),
    "answer": ("POST", "/inference", {"data": RED}),
    "answer, several": ("POST", "/predict", upload(RED, BLUE)),
    "options": ("OPTIONS", "/predict", {}),
    "head": ("HEAD", "/", {}),
    "refused image": ("POST", "/predict", {"data": b"?"}),
    "refused form": ("POST", "/predict", {"data": b"?", "headers": {"Content-Type": "multipart/form-data"}}),
    "unknown path": ("GET", "/nowhere", {}),
    "wrong method": ("DELETE", "/predict", {}),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_response_has_identity_and_security_headers(server: Server, name: str) -> None:
    method, path, options = EVERY[name]
    headers = server.session.request(method, server.url + path, timeout=20, **options).headers
    digest = Bundle.open(server.folder / "models/colours/bundle").digest
    assert (headers["X-Model-Name"], headers["X-Model-Version"], headers["X-Model-Digest"]) == (
        *("colours", "3"),
        digest,
    )
    assert re.fullmatch("[0-9a-f]{16}", headers["X-Request-Id"])
    assert headers.items() >= SECURITY.items()
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not any("unsafe" in sources for sources in policy.values())
    assert "microphone=()" in headers["Permissions-Policy"]


IDS = {
    "a hash": ("0123456789abcdef", True),
    "a uuid": ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", True),
    "the shortest": ("a.b_c-d9", True),
    "the longest": ("x" * 64, True),
    "too short": ("1234567", False),
    "too long": ("x" * 65, False),
    "empty": ("", False),
    "with a space": ("0123456789 abcdef", False),
    "with a quote": ('01234567"level":"', False),
    "a tag": ("<script>alert(1)</script>", False),
    "not ASCII": ("\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc", False),
}


@pytest.mark.parametrize("path", ["/livez", "/nowhere"])
@pytest.mark.parametrize("name", IDS)
def test_valid_request_id_is_kept(server: Server, path: str, name: str) -> None:
    given, sane = IDS[name]
    answered = ask(server, head("GET", path, f"X-Request-Id: {given}")).headers["x-request-id"]
    assert (answered == given) == sane
    assert sane or re.fullmatch("[0-9a-f]{16}", answered)


def test_request_ids_differ(server: Server) -> None:
    assert len({server.get("/livez").headers["X-Request-Id"] for _ in range(50)}) == 50


def test_server_timing_is_of_this_image(server: Server) -> None:
    response = server.post("/predict", **upload(RED))
    timing = response.json()["milliseconds"]
    expected = ", ".join(f"{name};dur={timing[name]}" for name in ("queue", "decode", "inference"))
    assert response.headers["Server-Timing"] == expected
    assert "Server-Timing" not in server.get("/livez").headers


@pytest.mark.parametrize("path", ["/inference", "/predict"])
def test_one_connection_takes_good_and_bad_in_turn(server: Server, path: str) -> None:
    with requests.Session() as session:
        for data, status in [
            (RED, 200),
            (b"?", 415),
            (b"", 400),
            (RED, 200),
            (noise(0)[:1500], 422),
            (BLUE, 200),
        ]:
            assert session.post(server.url + path, data=data, timeout=20).status_code == status


@pytest.fixture(scope="module")
def identified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the commit of its pin and the metrics of evaluation."""
    folder = publish(tmp_path_factory.mktemp("known"))
    digest = Bundle.open(folder / "models/colours/bundle").digest
    (folder / "reports/colours").mkdir(parents=True)
    (folder / "reports/colours/metrics.json").write_text(json.dumps({"digest": digest, "top1": 0.5}))
    with running(folder, pin_commit="0123456789abcdef" * 2 + "01234567") as started:
        yield started


def test_livez(server: Server) -> None:
    assert server.get("/livez").json() == {"status": "alive"}


def test_readyz(server: Server) -> None:
    document = server.get("/readyz").json()
    difference = document.pop("difference")
    assert document == {"status": "ready", "golden_images": len(COLOURS), "tolerance": TOLERANCE}
    # Golden predictions are recorded with three digits.
    assert 0 < difference <= 0.0005


def test_version(server: Server, identified: Server) -> None:
    document = server.get("/version").json()
    runtime = {name: version(name) for name in ("onnxruntime", "pillow", "numpy")}
    assert document == {
        "name": "colours",
        "version": 3,
        "digest": Bundle.open(server.folder / "models/colours/bundle").digest,
        "precision": "float32",
        "pin_commit": None,
        "runtime": {"python": python_version(), **runtime},
    }
    assert identified.get("/version").json() == document | {"pin_commit": "0123456789abcdef" * 2 + "01234567"}


def test_the_precision_is_that_of_the_graph_that_answers(tmp_path: Path) -> None:
    # A bundle with an 8-bit graph also lists a float32 graph, which a server's copy may lack.
    folder = publish(tmp_path, extra={FLOAT_GRAPH: b"only evaluation needs it"})
    (folder / "models/colours/bundle" / FLOAT_GRAPH).unlink()
    with running(folder) as server:
        assert [server.get(path).json()["precision"] for path in ("/version", "/model")] == ["int8", "int8"]
        assert "8-bit integers" in server.get("/model", headers={"Accept": BROWSER}).text


def test_model(server: Server, identified: Server) -> None:
    document = server.get("/model").json()
    identity = server.get("/version").json()
    assert document.items() >= identity.items()
    assert (document["classes"], document["labels"]) == (3, list(COLOURS))
    assert "8 x 8 pixels" in document["input"]
    assert document["metrics"] is None
    assert identified.get("/model").json()["metrics"] == {"digest": identity["digest"], "top1": 0.5}
    assert server.get("/model", headers={"Accept": BROWSER}).text.lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "report",
    [
        *('{"digest": "other", "top1": 0.5}', '{"top1": 0.5}', "{", "", "\0"),
        *("[]", "null"),
    ],
)
def test_metrics_of_another_bundle_are_not_shown(tmp_path: Path, report: str) -> None:
    publish(tmp_path)
    (tmp_path / "colours").mkdir()
    (tmp_path / "colours/metrics.json").write_text(report)
    pins, models = tmp_path / "pins", tmp_path / "models"
    assert (
        find_release(Settings(pins=pins, models_folder=models, reports=tmp_path), "colours").metrics is None
    )
