"""A collector of OpenTelemetry on loopback: OTLP over HTTP, as the exporter sends it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class CollectedSpan:
    """A span with its attributes and those of its resource as Python values; ids are hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    kind: int
    status: int
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What has come in so far. While `answer` is not set, requests wait for it."""

    port: int = 0
    spans: list[CollectedSpan] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    requests: int = 0
    answer: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str) -> list[CollectedSpan]:
        """The spans of a trace, the server's span last, as it ends last."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.end)


@contextmanager
def collecting(hangs: bool = False) -> Iterator[Collector]:
    """A collector that accepts spans, or one that takes requests and answers none until the block ends."""
    collector = Collector()
    if not hangs:
        collector.answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests += 1
            collector.answer.wait()
            collector.paths.add(self.path)
            collector.spans += decode_spans(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield collector
    finally:
        collector.answer.set()
        server.shutdown()
        server.server_close()


def decode_spans(body: bytes) -> list[CollectedSpan]:
    """The spans in the body of an export request."""
    return [
        CollectedSpan(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.code,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _values(span.attributes),
            _values(of_resource.resource.attributes),
        )
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:  # noqa: ANN401  (a container of protobuf's)
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
