"""The client's connection behind a WSGI environment: arrival time, disconnect, and the reader of the body."""

import select
import time
from typing import Any

from serving.server.client_socket import ClientSocket, DeadlineUnreader, QueueTiming

Environ = dict[str, Any]


def queue_timing(environ: Environ) -> QueueTiming:
    """When the request was received, and whether the queue was full then."""
    sock = environ.get("gunicorn.socket")
    return sock.timing if isinstance(sock, ClientSocket) else QueueTiming(time.monotonic())


def client_disconnected(environ: Environ) -> bool:
    """Has the client closed its connection, so that no response can be delivered?"""
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return False
    poll = select.poll()
    # Only Linux reports a closed connection before data is written; elsewhere only broken ones are seen.
    poll.register(sock, getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def body_stream(environ: Environ) -> Any:  # noqa: ANN401  (an object with `read`)
    """The stream of the body. Skips Gunicorn's file object, which copies by the kilobyte."""
    file = environ["wsgi.input"]
    return getattr(file, "reader", file)


def body_unreader(environ: Environ) -> DeadlineUnreader | None:
    """The reader below the stream; None outside this project's Gunicorn worker."""
    unreader = getattr(body_stream(environ), "unreader", None)
    return unreader if isinstance(unreader, DeadlineUnreader) else None


def content_length(environ: Environ) -> int | None:
    """Content-Length, which Gunicorn has validated; None for a chunked body."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    return int(environ.get("CONTENT_LENGTH") or 0)
