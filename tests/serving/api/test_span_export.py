"""Spans as a real collector gets them, and that a collector that is down delays nothing."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from serving.api.request_context import RequestContext
from serving.api.span_export import SpanExport
from serving.artifact.pin import Pin
from serving.config import SettingsInvalid
from serving.server.client_socket import QueueTiming
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.collector import CollectedSpan, Collector, collecting
from tests.serving.servers import Server, await_true, free_port, publish, running
from tests.serving.wire import RawResponse, ask, head, post, read

RED, GREEN, _ = (one_colour_png(rgb) for rgb in COLOURS.values())
SPAN, MARKER = "00f067aa0ba902b7", "what-the-client-WROTE"
SERVER_KIND, INTERNAL_KIND = 2, 1
UNSET = 0
ASKED = 9


def trace(number: int) -> str:
    """The id of a client's trace."""
    return f"{number:032x}"


def traceparent(number: int, flags: str = "01") -> str:
    """The header of a request in this trace."""
    return f"traceparent: 00-{trace(number)}-{SPAN}-{flags}"


SECRETS = tuple(
    f"{name}: {MARKER}" for name in ("User-Agent", "Cookie", "X-API-Key", "tracestate", "Referer")
)
REQUESTS: dict[str, bytes] = {
    "prediction": post("/predict", RED, traceparent(1), *SECRETS),
    "not sampled": post("/predict", RED, traceparent(2, "00")),
    "refused": post("/inference", MARKER.encode(), traceparent(3)),
    "no parent": post("/predict?top=2", RED),
    "invalid parent": post("/predict", RED, traceparent(4, "0")),
    "health check of a trace": head("GET", "/livez", traceparent(5)),
    "health check": head("GET", "/livez"),
    "metrics": head("GET", "/metrics"),
    "unknown path": post(f"/{MARKER}", RED, traceparent(6)),
    "unknown method": head("WROTE", "/", traceparent(7)),
    "odd path": head("GET", "/v2/models/%ff%ed%a0%80%00", traceparent(8)),
}


@dataclass
class Exchange:
    """What the requests above have led to, and spans from each of two workers."""

    answers: dict[str, RawResponse]
    # Number of requests in the trace ASKED, which both workers got.
    asked: int
    log: list[dict[str, Any]]
    collector: Collector

    def line(self, name: str) -> dict[str, Any]:
        """The log line of a request."""
        given = self.answers[name].headers["x-request-id"]
        (line,) = [line for line in self.log if line.get("request_id") == given]
        return line

    def span(self, name: str) -> CollectedSpan:
        """The span of a request, by the answer's header."""
        _, trace_id, span_id, flags = self.answers[name].headers["traceresponse"].split("-")
        (span,) = [span for span in self.collector.spans if span.span_id == span_id]
        assert (span.trace_id, int(flags, 16) & 1) == (trace_id, 1)
        return span


def is_connected(process: psutil.Process) -> bool:
    """Does it have an open connection?"""
    return psutil.CONN_ESTABLISHED in {each.status for each in process.net_connections("tcp4")}


def ask_both_workers(server: Server) -> int:
    """Sends requests on new connections, which stay open, until each worker has one; returns how many."""
    workers, open_connections = psutil.Process(server.process.pid).children(), 0
    with ExitStack() as stack:
        # A worker with more connections than the other one leaves new ones to that.
        while not all(is_connected(worker) for worker in workers):
            connection = stack.enter_context(server.connect())
            connection.sendall(head("GET", "/version", traceparent(ASKED)))
            assert read(connection).status == 200
            open_connections += 1
            assert open_connections < 100
    return open_connections


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """A server with two workers, whose spans come when it stops: the next batch would be sent in a minute."""
    folder = publish(tmp_path_factory.mktemp("traced"))
    variables = {"OTEL_BSP_SCHEDULE_DELAY": 60_000, "OTEL_RESOURCE_ATTRIBUTES": "host.name=here"}
    with (
        collecting() as collector,
        running(folder, workers=2, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables) as server,
    ):
        await_true(lambda: [line["message"] for line in server.log()].count("ready") == 2)
        answers = {name: ask(server, request) for name, request in REQUESTS.items()}
        asked = ask_both_workers(server)
        assert not collector.spans
        assert server.stop() == 0
        yield Exchange(answers, asked, server.log(), collector)


def test_span_of_a_prediction(exchange: Exchange) -> None:
    span, line = exchange.span("prediction"), exchange.line("prediction")
    assert (span.name, span.kind, span.status) == ("POST /predict", SERVER_KIND, UNSET)
    assert (span.trace_id, span.parent_span_id) == (trace(1), SPAN)
    assert (line["trace_id"], line["span_id"], line["parent_span_id"]) == (trace(1), span.span_id, SPAN)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
        "goldfish.request.id": line["request_id"],
        "goldfish.images": 1,
        "goldfish.model.name": "colours",
        "goldfish.model.version": 3,
        "goldfish.model.digest": exchange.answers["prediction"].headers["x-model-digest"],
    }
    assert (span.resource["service.name"], span.resource["host.name"]) == ("goldfish", "here")


def test_span_has_the_times_of_the_line(exchange: Exchange) -> None:
    span, ms = exchange.span("prediction"), exchange.line("prediction")["ms"]
    steps = [each for each in exchange.collector.spans if each.parent_span_id == span.span_id]
    assert [step.name for step in steps] == ["queue", "decode", "inference"]
    ends = [span.start]
    for step in steps:
        assert (step.trace_id, step.kind) == (span.trace_id, INTERNAL_KIND)
        assert (step.end - step.start) / 1e6 == pytest.approx(ms[step.name], abs=0.002)
        assert ends[-1] <= step.end <= span.end
        ends.append(step.end)
    # The line is written before the span ends.
    assert ms["total"] <= (span.end - span.start) / 1e6
    assert 0 <= time.time() - span.end / 1e9 < 600


def test_every_worker_sends(exchange: Exchange) -> None:
    assert len({span.resource["service.instance.id"] for span in exchange.collector.spans}) == 2
    assert len(exchange.collector.of(trace(ASKED))) == exchange.asked
    assert exchange.collector.paths == {"/v1/traces"}


def test_client_decides_whether_its_trace_is_recorded(exchange: Exchange) -> None:
    assert exchange.collector.of(trace(2)) == []
    line = exchange.line("not sampled")
    assert (line["trace_id"], line["parent_span_id"]) == (trace(2), SPAN)
    assert exchange.answers["not sampled"].headers["traceresponse"] == f"00-{trace(2)}-{line['span_id']}-00"


@pytest.mark.parametrize("name", ["no parent", "invalid parent"])
def test_without_a_valid_parent_a_trace_begins_here(exchange: Exchange, name: str) -> None:
    span, line = exchange.span(name), exchange.line(name)
    assert span.parent_span_id == ""
    assert span.trace_id not in {trace(number) for number in range(10)}
    assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)
    assert "parent_span_id" not in line
    # The id of the trace is random (W3C Trace Context, level 2).
    assert exchange.answers[name].headers["traceresponse"].endswith("-03")
    assert span.attributes["url.path"] == "/predict"


def test_health_checks_and_metrics_begin_no_trace(exchange: Exchange) -> None:
    for name in ("health check", "metrics"):
        assert "traceresponse" not in exchange.answers[name].headers
        assert "trace_id" not in exchange.line(name)
    assert exchange.span("health check of a trace").name == "GET /livez"


def test_refused_image_is_no_fault_of_the_server(exchange: Exchange) -> None:
    span = exchange.span("refused")
    assert (span.status, span.attributes["http.response.status_code"]) == (UNSET, 415)
    assert span.attributes["goldfish.error.code"] == "image_unrecognised"
    assert "error.type" not in span.attributes
    assert exchange.answers["refused"].json["trace_id"] == trace(3)


def test_nothing_that_the_client_wrote_is_in_a_span(exchange: Exchange) -> None:
    assert exchange.collector.spans
    assert "WROTE" not in str(exchange.collector.spans)
    for name, method in (("unknown path", "POST"), ("unknown method", "_OTHER")):
        span = exchange.span(name)
        assert span.attributes["http.request.method"] == method
        assert "WROTE" not in str(exchange.line(name))
    assert not {"http.route", "url.path"} & exchange.span("unknown path").attributes.keys()
    # It would keep a whole batch from being sent if it were not valid text.
    assert exchange.span("odd path").attributes["url.path"].startswith("/v2/models/")


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "refuses"])
def test_collector_that_is_down_delays_nothing(tmp_path: Path, hangs: bool) -> None:
    # More spans than the queue takes, in many batches. An attempt to send one takes ten seconds.
    variables = {
        "OTEL_BSP_SCHEDULE_DELAY": 50,
        "OTEL_BSP_MAX_QUEUE_SIZE": 64,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 16,
    }
    with collecting(hangs=True) as collector:
        url = collector.url if hangs else f"http://127.0.0.1:{free_port()}"
        with running(publish(tmp_path), OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url, **variables) as server:
            began = time.monotonic()
            assert {server.post("/predict", data=RED).status_code for _ in range(100)} == {200}
            assert time.monotonic() - began < 5
            assert collector.requests == hangs
            server.session.close()
            began = time.monotonic()
            # The library's own limit is 30 seconds.
            assert (server.stop(), time.monotonic() - began < 8) == (0, True)
            assert_reported_once(server)


def assert_reported_once(server: Server) -> None:
    """The log has one line about the collector, not one for each batch or span."""
    (line,) = [line for line in server.log() if line["message"] not in ("ready", "request")]
    assert (line["level"], line["code"], line["reports"]) == ("warning", "span_export_failed", 1)
    assert line["reason"]


@pytest.fixture
def memory() -> tuple[SpanExport, InMemorySpanExporter]:
    """An export into this process."""
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return SpanExport(provider), kept


def context(*headers: str) -> RequestContext:
    """The context of a request that has just arrived."""
    return RequestContext.begin(QueueTiming(time.monotonic()), None, *headers)


@pytest.mark.parametrize(
    ("status", "failed"), [(200, False), (404, False), (499, False), (500, True), (503, True)]
)
def test_span_has_failed_if_the_server_has(
    memory: tuple[SpanExport, InMemorySpanExporter], status: int, failed: bool
) -> None:
    export, kept = memory
    given = context()
    given.code = None if status == 200 else "some_code"
    export.end(export.begin(given, "GET", "https", "/x", "/x"), given, Pin("colours", 3, "0" * 64), status)
    span: ReadableSpan
    (span,) = kept.get_finished_spans()
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert span.attributes is not None
    assert span.attributes.get("error.type") == ("some_code" if failed else None)
    assert (span.attributes.get("goldfish.error.code") is None) == (status == 200)


def test_sampler_of_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    export = SpanExport.start(f"http://127.0.0.1:{free_port()}/", 128)
    try:
        for given, recorded in (
            (context(), False),
            (context(traceparent(1).split(": ")[1]), True),
            (context(traceparent(1, "00").split(": ")[1]), False),
        ):
            export.begin(given, "GET", "http", None, None)
            assert given.span is not None
            assert (given.span.flags & 1, given.steps) == (recorded, [] if recorded else None)
    finally:
        export.stop(1)


@pytest.mark.parametrize(
    ("name", "text"),
    # The second is less than a batch.
    [("OTEL_BSP_MAX_QUEUE_SIZE", "0"), ("OTEL_BSP_MAX_QUEUE_SIZE", "127"), ("OTEL_BSP_SCHEDULE_DELAY", "0")],
)
def test_number_that_the_library_cannot_use_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid, match=name.removeprefix("OTEL_BSP_").lower()):
        SpanExport.start("http://127.0.0.1:1/", 128)
