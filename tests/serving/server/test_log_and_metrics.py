"""Log lines and metrics of requests, and that neither they nor the disk hold any of the contents."""

import mmap
import os
import re
import secrets
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from prometheus_client.parser import text_string_to_metric_families

from serving.artifact.bundle import Bundle
from serving.cpu_count import available_cores
from tests.serving.api.test_routes import EVERY, Options, upload
from tests.serving.bundles import COLOURS, expected_probabilities, one_colour_png
from tests.serving.images import encode_image
from tests.serving.servers import TIMEOUT, Server, await_true, publish, running
from tests.serving.wire import ask, head, post, read

RED, GREEN, BLUE = (one_colour_png(rgb) for rgb in COLOURS.values())
GREY = one_colour_png((100, 100, 100))

MEMBERS = {
    *(
        "time",
        "level",
        "message",
        "request_id",
        "method",
        "route",
        "status",
        "code",
        "ms",
        "images",
        "model",
        "digest",
    ),
}
# Name in EVERY, with route, status and code of its line.
LINES: dict[str, tuple[str, int, str | None]] = {
    "home": ("/", 200, None),
    "docs": ("/docs", 200, None),
    "metrics": ("/metrics", 200, None),
    "livez": ("/livez", 200, None),
    "answer": ("/inference", 200, None),
    "answer, several": ("/predict", 200, None),
    "options": ("/predict", 200, None),
    "head": ("/", 200, None),
    "refused image": ("/predict", 415, "image_unrecognised"),
    "refused form": ("/predict", 400, "multipart_malformed"),
    # An unknown path is not logged, because a client can put anything into it; nor is it for a wrong method.
    "unknown path": ("none", 404, "route_unknown"),
    "wrong method": ("none", 405, "method_not_allowed"),
}


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The one line of a request."""
    (line,) = [line for line in server.log() if line.get("request_id") == request_id]
    return line


@pytest.mark.parametrize("name", LINES)
def test_one_line_per_request(server: Server, name: str) -> None:
    method, path, options = EVERY[name]
    route, status, code = LINES[name]
    before = len(server.log())
    response = server.session.request(method, server.url + path, timeout=TIMEOUT, **options)
    line = line_of(server, response.headers["X-Request-Id"])
    assert len(server.log()) == before + 1
    assert line.keys() == MEMBERS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["message"], line["method"]) == ("info", "request", method)
    assert (line["route"], line["status"], line["code"]) == (route, status, code)
    assert line["digest"] == Bundle.open(server.folder / "models/colours/bundle").digest
    assert line["ms"].keys() == {"total", "queue", "decode", "inference"}


def test_line_has_format_and_size_of_each_image(server: Server) -> None:
    photo = encode_image(Image.new("RGB", (640, 480)), "JPEG")
    response = server.post("/predict", **upload(RED, photo))
    assert line_of(server, response.headers["X-Request-Id"])["images"] == [
        {"format": "PNG", "width": 12, "height": 10, "bytes": len(RED)},
        {"format": "JPEG", "width": 640, "height": 480, "bytes": len(photo)},
    ]


def test_line_has_the_time_of_each_step(server: Server) -> None:
    longer = 0
    for _ in range(5):
        began = time.perf_counter()
        response = server.post("/predict", data=encode_image(Image.new("RGB", (3000, 2000)), "PNG"))
        elapsed = 1000 * (time.perf_counter() - began)
        ms = line_of(server, response.headers["X-Request-Id"])["ms"]
        assert min(ms["decode"], ms["inference"]) > 0
        assert ms["queue"] + ms["decode"] + ms["inference"] <= ms["total"] <= elapsed
        answered = response.json()["milliseconds"]
        assert {name: ms[name] for name in answered} == answered
        longer += ms["decode"] > ms["inference"]
    # Six megapixels take some milliseconds to decode; inference on eight by eight pixels takes less, unless a
    # busy machine interrupts it.
    assert longer


def test_images_before_the_bad_one_are_in_the_line(server: Server) -> None:
    line = line_of(server, server.post("/predict", **upload(RED, b"?")).headers["X-Request-Id"])
    assert (line["code"], len(line["images"])) == ("image_unrecognised", 1)


def test_id_of_a_proxy_is_in_the_line(server: Server) -> None:
    server.get("/livez", headers={"X-Request-Id": "from-the-proxy-1"})
    assert line_of(server, "from-the-proxy-1")["route"] == "/livez"


# Which headers are valid is tested in tests/serving/api/test_trace_context.py.
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "request_",
    [head("GET", "/livez", PARENT), post("/predict", RED, PARENT), head("GET", "/nowhere", PARENT)],
    ids=["health check", "prediction", "error"],
)
def test_trace_of_a_client_is_in_line_and_answer(server: Server, request_: bytes) -> None:
    answer = ask(server, request_)
    line = line_of(server, answer.headers["x-request-id"])
    assert line.keys() == MEMBERS | {"trace_id", "span_id", "parent_span_id"}
    assert (line["trace_id"], line["parent_span_id"]) == (TRACE, SPAN)
    # Nothing is recorded here, whatever the client does.
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{line['span_id']}-00"
    assert line["span_id"] != SPAN


def test_each_request_of_a_trace_has_a_span_of_its_own(server: Server) -> None:
    answers = [ask(server, head("GET", "/livez", PARENT)).headers["traceresponse"] for _ in range(20)]
    assert len(set(answers)) == 20


@pytest.mark.parametrize("path", ["/predict", "/v2/models/colours/infer", "/v1/models/colours:predict"])
def test_error_names_the_trace(server: Server, path: str) -> None:
    answer = ask(server, post(path, b"?", PARENT))
    assert (answer.status >= 400, answer.json["trace_id"]) == (True, TRACE)
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert "trace_id" not in ask(server, post(path, b"?")).json


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (f"traceparent: 00-{TRACE}-{'0' * 16}-01",),
        # Sent twice, alike or not.
        (PARENT, PARENT),
        (PARENT, f"traceparent: 00-{TRACE[::-1]}-{SPAN}-01"),
        ("traceparent: " + "x" * 5000,),
        (f"tracestate: a={TRACE}",),
    ],
    ids=["none", "invalid", "twice", "two", "long", "only a state"],
)
def test_without_a_valid_trace_nothing_is_added(server: Server, lines: tuple[str, ...]) -> None:
    answer = ask(server, head("GET", "/livez", *lines))
    assert line_of(server, answer.headers["x-request-id"]).keys() == MEMBERS
    assert (answer.status, "traceresponse" in answer.headers) == (200, False)


def test_lines_of_requests_at_once_do_not_mix(server: Server) -> None:
    ids = [f"at-once-{number:04}" for number in range(200)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda given: ask(server, post("/inference", RED, f"X-Request-Id: {given}")), ids))
    # Each is JSON, or `log` would have failed.
    assert sorted(line["request_id"] for line in server.log() if line.get("request_id") in ids) == ids


# Occurs in no file of this machine unless the server writes it.
MARKER = secrets.token_hex(16)
PLACES = [Path(tempfile.gettempdir()), Path("/dev/shm")]  # noqa: S108  (looked at, not written)
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux shows open files so")


def photo(kind: str, **options: Any) -> bytes:  # noqa: ANN401  (Pillow's own)
    """An image with the marker in its metadata."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = exif[ExifTags.Base.Artist] = f"{MARKER}-exif"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = f"{MARKER}-gps".encode()
    return encode_image(Image.new("RGB", (40, 30)), kind, exif=exif, **options)


def large() -> bytes:
    """A PNG of 3 MB that cannot be compressed, with the marker in a chunk of text."""
    pixels = np.random.default_rng(int(MARKER, 16)).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    text = PngInfo()
    text.add_text("Comment", f"{MARKER}-text")
    return encode_image(Image.fromarray(pixels), "PNG", pnginfo=text, compress_level=0)


LARGE = large()
# Bytes from its middle, which occur in no other file.
DEEP = LARGE[2_000_000:2_000_064]
FORM = f"multipart/form-data; boundary={MARKER}"
NAMED = (f"{MARKER}-name.jpg", photo("JPEG", comment=MARKER))
MARKED = [
    f"{name}: {MARKER}" for name in ("User-Agent", "Referer", "Cookie", "X-Request-Id", "X-API-Key", "From")
]


def exchanges(server: Server) -> None:
    """Sends the marker in every place where a client can put something."""
    sent: list[tuple[str, Options]] = [
        ("/inference", {"files": {"image": NAMED}}),
        ("/predict", {"files": {"image": NAMED}, "data": {"comment": MARKER, MARKER: "x"}}),
        ("/predict", {"files": {"image": (MARKER, LARGE)}}),
        ("/inference", {"data": LARGE}),
        ("/inference", {"data": photo("WEBP")}),
        # Refused for different reasons; the errors must not quote what was sent.
        ("/inference", {"data": photo("JPEG")[:-300]}),
        ("/inference", {"data": LARGE[:1_500_000]}),
        ("/inference", {"data": f"<svg>{MARKER}</svg>"}),
        ("/inference", {"data": MARKER}),
        ("/predict", {"files": {"image": (MARKER, MARKER)}}),
        ("/predict", {"files": {MARKER: (MARKER, MARKER)}}),
        ("/predict", {"data": f"--{MARKER}\r\n{MARKER}", "headers": {"Content-Type": FORM}}),
        ("/predict", {"data": MARKER, "headers": {"Content-Type": MARKER}}),
        ("/predict", {"data": RED, "params": {"top": MARKER, MARKER: "x"}}),
        (f"/{MARKER}", {"data": MARKER}),
    ]  # fmt: skip
    for path, options in sent:
        server.post(path, **options)
    server.session.request(MARKER.upper(), server.url + "/", timeout=TIMEOUT)
    for request in (
        post("/inference", RED, *(line.replace("X-Request-Id: ", "X-Request-Id: !") for line in MARKED)),
        f"{MARKER}\r\n\r\n".encode(),
        head("GET", "/", f"{MARKER} : x"),
        b"GET / HTTP/1.1\r\nHost: " + MARKER.encode() + b"\r\n\r\n",
    ):
        ask(server, request)


def written_since(moment: float, place: Path) -> Iterator[Path]:
    """The files changed after a moment, in a folder and in the folders below that have changed."""
    for folder, below, names in os.walk(place):
        # A machine's /tmp may hold a million files. A new file changes its folder.
        below[:] = [name for name in below if changed(Path(folder, name), moment)]
        yield from (Path(folder, name) for name in names if changed(Path(folder, name), moment))


def changed(path: Path, moment: float) -> bool:
    """Is it a file or a folder that changed after a moment?"""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_mtime >= moment and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))


def open_files(server: Server) -> list[Path]:
    """The regular files that the processes of a server have open, also those without a name."""
    found = []
    for process in (server.worker.pid, server.process.pid):
        for handle in Path(f"/proc/{process}/fd").iterdir():
            # A connection may end between the two looks.
            with suppress(FileNotFoundError):
                if stat.S_ISREG(handle.stat().st_mode):
                    found.append(handle)
    return found


def contains_marker(path: Path) -> bool:
    """Whether a file contains anything of what was sent."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(data.find(piece) >= 0 for piece in (MARKER.encode(), MARKER.upper().encode(), DEEP))
    # The file is empty, deleted or not readable.
    except (ValueError, OSError):
        return False


# With these variables ONNX Runtime sends no telemetry anyway, so a test in CI would prove nothing.
QUIETENING = [
    *("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "CIRCLECI", "TRAVIS", "JENKINS_URL", "BUILDKITE"),
    *(
        "CODEBUILD_BUILD_ID",
        "TEAMCITY_VERSION",
        "APPVEYOR",
        "ORT_DISABLE_TELEMETRY",
        "ORT_RUNNING_UNIT_TESTS",
    ),
]


@pytest.fixture(scope="module")
def discreet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a folder of its own for temporary files, caches and the home directory."""
    folder = publish(tmp_path_factory.mktemp("discreet"))
    (folder / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            patch.setenv(name, str(folder / "elsewhere"))
        for name in QUIETENING:
            patch.delenv(name, raising=False)
        with running(folder) as started:
            yield started


@linux
def test_nothing_of_what_is_sent_is_kept(discreet: Server) -> None:
    began = time.time() - 1
    exchanges(discreet)
    recent = [path for place in PLACES for path in written_since(began, place)]
    own = [path for path in discreet.folder.rglob("*") if path.is_file()]
    assert [path for path in {*own, *recent, *open_files(discreet)} if contains_marker(path)] == []
    assert MARKER not in discreet.get("/metrics").text


@linux
def test_search_would_find_it(tmp_path: Path) -> None:
    began = time.time() - 1
    (tmp_path / "below").mkdir()
    for name, piece in {"a": MARKER.encode(), "below/b": b"x" * 5000 + DEEP, "c": b"else"}.items():
        (tmp_path / name).write_bytes(piece)
    found = [path.name for path in written_since(began, tmp_path) if contains_marker(path)]
    rmtree(tmp_path)
    assert sorted(found) == ["a", "b"]


def test_engine_writes_no_files(discreet: Server) -> None:
    assert discreet.post("/inference", data=RED).ok
    kept = [path.relative_to(discreet.folder) for path in (discreet.folder / "elsewhere").rglob("*")]
    assert kept == []


def on_disk(server: Server) -> set[str]:
    """The files that a server has open or has written to its temporary folder."""
    names = {str(path) for path in (server.folder / "elsewhere").rglob("*")}
    return names | {str(handle.readlink()) for handle in open_files(server)}


@linux
@pytest.mark.parametrize("form", [True, False])
def test_body_is_in_no_file_while_it_comes(discreet: Server, form: bool) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    body = part + LARGE + b"\r\n--b--\r\n" if form else LARGE
    line = "Content-Type: " + ("multipart/form-data; boundary=b" if form else "image/png")
    request, before = post("/inference", body, line), on_disk(discreet)
    with discreet.connect() as connection:
        connection.sendall(request[:-1000])
        await_true(lambda: series(discreet)["goldfish_body_bytes"] >= 2_500_000)
        assert on_disk(discreet) == before
        connection.sendall(request[-1000:])
        assert read(connection).status == 200
    assert on_disk(discreet) == before


def test_log_has_no_address_of_a_client(server: Server) -> None:
    ask(server, post("/inference", RED, "X-Forwarded-For: 192.0.2.77", "Forwarded: for=192.0.2.77"))
    lines = [str(line) for line in server.log() if line["message"] == "request"]
    assert not any("127.0.0.1" in line or "192.0.2.77" in line for line in lines)


def series(server: Server) -> dict[str, float]:
    """All series of /metrics, by name and labels."""
    return {
        " ".join(
            [sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(server.get("/metrics").text)
        for sample in family.samples
    }


def grown(before: dict[str, float], after: dict[str, float], start: str) -> dict[str, float]:
    """The growth of the series with a prefix, by the rest of their names."""
    names = [name for name in after if name.startswith(start) and after[name] != before.get(name, 0)]
    return {name.removeprefix(start).strip(): after[name] - before.get(name, 0) for name in names}


def test_metrics_are_prometheus_text(server: Server) -> None:
    response = server.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE goldfish_requests_total counter" in response.text
    assert series(server)["process_resident_memory_bytes"] > 10 * 2**20


def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    before = series(server)
    for name in LINES:
        method, path, options = EVERY[name]
        server.session.request(method, server.url + path, timeout=TIMEOUT, **options)
    after = series(server)
    expected = Counter(f"route={route} status={status}" for route, status, _ in LINES.values())
    # The first request for the metrics was counted after its response.
    expected["route=/metrics status=200"] += 1
    assert grown(before, after, "goldfish_requests_total") == expected
    by_route = Counter(route for route, _, _ in LINES.values()) + Counter({"/metrics": 1})
    assert grown(before, after, "goldfish_request_seconds_count") == {
        f"route={route}": count for route, count in by_route.items()
    }


def test_refusals_are_counted_by_code(server: Server) -> None:
    sent: list[tuple[str, Options]] = [
        ("/inference", {"data": b""}),
        ("/inference", {"data": b"?"}),
        ("/predict", upload(RED, b"")),
        ("/predict", upload(b"")),
        ("/predict?top=0", {"data": RED}),
        ("/inference", upload(RED, RED)),
        ("/nowhere", {}),
        ("/inference", {"data": RED}),
    ]
    before = series(server)
    for path, options in sent:
        server.post(path, **options)
    assert grown(before, series(server), "goldfish_refusals_total") == {
        "code=image_missing": 1,
        "code=image_unrecognised": 1,
        "code=image_empty": 2,
        "code=parameter_invalid": 1,
        "code=images_too_many": 1,
        "code=route_unknown": 1,
    }


def test_work_is_counted_by_request_and_by_image(server: Server) -> None:
    before, began = series(server), time.monotonic()
    server.post("/predict", **upload(RED, GREEN, BLUE))
    server.post("/inference", data=RED)
    # Two that are refused while they are decoded, and one that is refused before.
    server.post("/inference", data=b"?")
    server.post("/predict", **upload(GREY, b"?"))
    server.post("/predict", **upload(RED) | {"headers": {"Content-Type": "multipart/form-data"}})
    elapsed, after = time.monotonic() - began, series(server)
    counts = {name: grown(before, after, f"goldfish_{name}_count") for name in WORK}
    assert counts == {name: {label: count} for name, (label, count) in WORK.items()}
    for name in ("queue_seconds", "decode_seconds", "inference_seconds"):
        assert 0 < grown(before, after, f"goldfish_{name}_sum")[WORK[name][0]] < elapsed
    found = grown(before, after, "goldfish_predictions_total")
    # Of equal scores the first class counts.
    assert found == {f"label={label} {MODEL}": n for label, n in (("red", 3), ("green", 1), ("blue", 1))}


MODEL = "model=colours"
# Metrics that are by model have its label.
WORK = {
    "queue_seconds": ("", 4),
    "decode_seconds": ("", 5),
    "inference_seconds": (MODEL, 5),
    "confidence": (MODEL, 5),
}


def test_confidence_is_a_histogram(server: Server) -> None:
    before = series(server)
    server.post("/predict", **upload(RED, BLUE, GREY))
    after = series(server)
    buckets = grown(before, after, "goldfish_confidence_bucket")
    # 0.33 once and 0.96 twice.
    assert [buckets.get(f"le={edge} {MODEL}", 0) for edge in ("0.3", "0.4", "0.95", "0.99", "+Inf")] == [
        0,
        1,
        1,
        3,
        3,
    ]
    sure = expected_probabilities(COLOURS["red"]).max()
    assert grown(before, after, "goldfish_confidence_sum")[MODEL] == pytest.approx(2 * sure + 1 / 3, abs=1e-5)


def test_model_is_named(server: Server) -> None:
    digest = Bundle.open(server.folder / "models/colours/bundle").digest
    info = {name: value for name, value in series(server).items() if "model_info" in name}
    assert info == {f"goldfish_model_info digest={digest} name=colours role=active version=3": 1}


def test_gauges_return_to_zero(server: Server) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: ask(server, post("/inference", LARGE)), range(40)))
    shown = series(server)
    assert shown["goldfish_slots"] == max(1, round(available_cores()))
    for name in ("queue_depth", "slots_busy", "body_bytes"):
        assert shown[f"goldfish_{name}"] == 0


def test_few_classes_are_counted_from_the_start(tmp_path: Path) -> None:
    with running(publish(tmp_path), metrics_classes=len(COLOURS)) as server:
        shown = {name: value for name, value in series(server).items() if "predictions_total" in name}
        assert shown == {f"goldfish_predictions_total label={name} {MODEL}": 0 for name in COLOURS}


def test_many_classes_are_not_counted_one_by_one(tmp_path: Path) -> None:
    with running(publish(tmp_path), metrics_classes=1) as server:
        assert server.post("/inference", data=RED).ok
        shown = series(server)
        assert not any("predictions" in name for name in shown)
        assert shown[f"goldfish_confidence_count {MODEL}"] == 1


def test_clients_cannot_make_series(server: Server) -> None:
    def wander(number: int) -> None:
        for path in (f"/{number}", f"/predict/{number}", f"/predict?top={number + 100}", f"/static/{number}"):
            ask(server, post(path, RED, f"X-Request-Id: wanderer-{number:04}", f"X-{number}: y"))
        ask(server, head(f"BREW{number}", "/"))
        ask(server, head("GET", f"/static/{number}"))
        ask(server, post("/predict", b"?%d" % number, f"Content-Type: image/{number}"))

    wander(0)
    before = series(server).keys()
    for number in range(1, 30):
        wander(number)
    assert series(server).keys() == before
    # Twenty for each of fifty routes, if all have been requested.
    assert len(before) < 1000
