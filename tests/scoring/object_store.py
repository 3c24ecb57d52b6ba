"""A small server with S3's protocol on loopback, for one bucket. It checks no signatures."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


class Store(ThreadingHTTPServer):
    """`objects` are files by key; requests for keys below a prefix in `denied` get 403."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.denied: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def refusal(self, key: str) -> str:
        """The code of the error with which a request is answered, or nothing."""
        return "AccessDenied" if any(key.startswith(each) for each in self.denied) else ""


class Handler(BaseHTTPRequestHandler):
    """HEAD, GET, PUT and ListObjectsV2, with the bucket in the path."""

    server: Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).strip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        code = self.server.refusal(key or query.get("prefix", ""))
        if bucket != BUCKET:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif code:
            self._answer(403, f"<Error><Code>{code}</Code></Error>".encode())
        elif not key:
            self._answer(200, self._listing(query.get("prefix", "")))
        elif key in self.server.objects:
            self._answer(200, self.server.objects[key])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        bucket, _, key = unquote(urlsplit(self.path).path).strip("/").partition("/")
        if bucket != BUCKET:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif code := self.server.refusal(key):
            self._answer(403, f"<Error><Code>{code}</Code></Error>".encode())
        else:
            self.server.objects[key] = data
            self._answer(200, b"")

    def _listing(self, prefix: str) -> bytes:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key, data in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running_store() -> Iterator[Store]:
    """A store that answers until the block ends."""
    with Store() as store:
        Thread(target=store.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield store
        finally:
            store.shutdown()
