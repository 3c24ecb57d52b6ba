"""The parts of Gunicorn's threaded worker (gunicorn.workers.gthread, 26.2) that this server builds on.

They are not a public interface, so everything that relies on them is listed here, and
`tests/serving/server/test_gunicorn_seam.py` fails when one of them changes in the installed release.
`pyproject.toml` allows no newer major release.

Methods of `ThreadWorker` that subclasses override, because Gunicorn calls them:

| method | called | purpose here |
| --- | --- | --- |
| `__init__(*args, **kwargs)` | before the fork | connection lists |
| `init_process()` | after the fork; calls all up to `run` | thread pools |
| `get_thread_pool()` | by `init_process` | the pool for inference |
| `init_signals()` | by `init_process` | ignores signals meant for the master process |
| `load_wsgi()` | by `init_process` | gives the application the queue's length |
| `run()` | by `init_process` | the event loop |
| `accept(listener)` | by the poller, see `set_accept_enabled` | a new connection |
| `handle_request(req, conn)` | by `handle`, in a thread | validates, responds, flushes |
| `handle_error(req, client, addr, exc)` | by `handle`, in a thread | responds in JSON |
| `handle_exit(sig, frame)` | on SIGTERM | graceful stop |
| `handle_quit(sig, frame)` | on SIGINT and SIGQUIT | immediate stop |

Used as they are: `handle(conn)` parses a request and calls the application; `set_accept_enabled(enabled)`;
`is_parent_alive()`; `notify()` is the heartbeat; `method_queue` takes calls from threads to the event loop;
`poller`, `sockets`, `alive`, `booted`, `ppid`, `cfg`, `app`, `log`, `wsgi`, `tpool`, `worker_connections`.
`handle_request` closes connections when `len(keepalived_conns)` reaches `max_keepalived`.

`GunicornConnection` extends `TConn`, whose `init` makes the parser; its `unreader` is replaced by the
`DeadlineUnreader`, and a request's private `_expected_100_continue` and `body` are set. Elsewhere the master
process extends `Arbiter` (`master.py`) and the logger `Logger` (`serving/log.py`).

Not called, because `run` is overridden: `enqueue_req`, `finish_request`, `on_client_socket_readable`,
`on_pending_socket_readable`, `murder_keepalived`, `murder_pending` and `wait_for_and_dispatch_events`.
"""

import selectors
import socket
from typing import Any

from gunicorn.http.body import Body, ChunkedReader
from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from serving.server.chunked_body import ChunkedBodyReader
from serving.server.client_socket import ClientSocket, DeadlineUnreader
from serving.server.gunicorn_app import GunicornApp, WorkerApplication
from serving.server.thread_pool import ThreadPool


class GunicornConnection(TConn):  # type: ignore[misc]
    """A connection as `ThreadWorker.handle` takes it, with this server's socket and body reader."""

    sock: ClientSocket

    def __init__(self, cfg: Any, client: socket.socket, *peers: object) -> None:  # noqa: ANN401
        super().__init__(cfg, ClientSocket(client), *peers)
        # When the wait for the client ends (monotonic seconds).
        self.timeout = 0.0
        # `handle` would wait for data in the thread otherwise.
        self.data_ready = True

    def start_parser(self, head: bytes, body_seconds: float, body_received: int) -> None:
        """Gives the parser the head of a request, with the `body_received` bytes that came behind it."""
        self.init()
        if not isinstance(self.parser.unreader, DeadlineUnreader):
            self.parser.unreader = DeadlineUnreader(self.sock)
        self.parser.unreader.begin_request(body_seconds, body_received)
        self.parser.unreader.unread(head)

    def take_pipelined(self) -> bytes:
        """The bytes that the parser has read beyond the end of the request."""
        data: bytes = self.parser.unreader.take_buffered()
        return data

    def prepare_body(self, request: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
        """Replaces Gunicorn's chunked reader and its early "100 Continue".

        Gunicorn would send that before the application has seen the head; `DeadlineUnreader` sends it when
        the application reads the body.
        """
        self.parser.unreader.expects_continue = request._expected_100_continue
        request._expected_100_continue = False
        if isinstance(request.body.reader, ChunkedReader):
            request.body = Body(ChunkedBodyReader(self.parser.unreader))


class GunicornWorker(ThreadWorker):  # type: ignore[misc]
    """`ThreadWorker` with the types of the attributes that this server uses."""

    cfg: Any
    log: Any
    app: GunicornApp
    wsgi: WorkerApplication
    tpool: ThreadPool
    poller: selectors.BaseSelector
    method_queue: PollableMethodQueue
    sockets: list[socket.socket]
    alive: bool
    booted: bool
    ppid: int
    worker_connections: int
