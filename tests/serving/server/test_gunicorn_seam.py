"""The installed Gunicorn still has the private parts that the worker builds on, unchanged.

If a test fails after an update: read what changed in Gunicorn, adapt `serving/server/`, then the table here.
"""

import hashlib
import inspect
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http.body import Body
from gunicorn.http.message import Message, Request
from gunicorn.http.parser import Parser
from gunicorn.http.unreader import SocketUnreader, Unreader
from gunicorn.http.wsgi import Response, create
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from serving.log import GunicornLog
from serving.server import gunicorn_seam
from serving.server.client_socket import DeadlineUnreader
from serving.server.connections import Connection
from serving.server.master import Master
from serving.server.worker import Worker

# Methods that the server overrides, with the parameters that Gunicorn passes.
OVERRIDDEN: dict[type, tuple[type, dict[str, str]]] = {
    Worker: (
        ThreadWorker,
        {
            "__init__": "self, *args, **kwargs",
            "init_process": "self",
            "get_thread_pool": "self",
            "init_signals": "self",
            "load_wsgi": "self",
            "run": "self",
            "accept": "self, listener",
            "handle_request": "self, req, conn",
            "handle_error": "self, req, client, addr, exc",
            "handle_exit": "self, sig, frame",
            "handle_quit": "self, sig, frame",
        },
    ),
    Connection: (TConn, {"__init__": "self, cfg, sock, client, server"}),
    DeadlineUnreader: (SocketUnreader, {"__init__": "self, sock, max_chunk=8192", "chunk": "self"}),
    Master: (
        Arbiter,
        {
            "init_signals": "self",
            "spawn_worker": "self",
            "manage_workers": "self",
            **{f"handle_{name}": "self" for name in ("hup", "usr1", "usr2", "ttin", "ttou", "winch")},
        },
    ),
    GunicornLog: (
        Logger,
        {
            "setup": "self, cfg",
            "access": "self, resp, req, environ, request_time",
            "error": "self, msg, *args, **kwargs",
        },
    ),
}

# Functions that are used as they are, with the start of the SHA-256 of their source.
USED: dict[Any, str] = {
    BaseWorker.__init__: "e0f1de2d6057",
    BaseWorker.notify: "7f509bc4046b",
    BaseWorker.init_process: "114caccd7a0e",
    BaseWorker.load_wsgi: "18b02fc35e96",
    BaseWorker.init_signals: "65442e0602b0",
    ThreadWorker.__init__: "5681b8b542ea",
    ThreadWorker.init_process: "e4fc63a1a68e",
    ThreadWorker.set_accept_enabled: "140150ebfd3c",
    ThreadWorker.is_parent_alive: "3517612f7763",
    ThreadWorker.handle: "ca85c9be3df7",
    ThreadWorker.handle_request: "a3ccb3ba1b4d",
    ThreadWorker._keepalive_after: "4ebdbbc8bf5a",
    TConn.__init__: "c8763d7c6597",
    TConn.init: "5ff3d4ba451c",
    TConn.close: "6d1c334ed197",
    PollableMethodQueue.init: "41e0b28738da",
    PollableMethodQueue.fileno: "fd4ffde15b2d",
    PollableMethodQueue.defer: "4d722900967b",
    PollableMethodQueue.run_callbacks: "2583376785b0",
    Parser.__init__: "604084ecb33b",
    Parser.finish_body: "99c2fb5b9580",
    Parser.__next__: "9ade6150140d",
    Unreader.read: "6cc334141224",
    Unreader.unread: "8e325744dfca",
    Unreader.take_buffered: "89cef5e60e6f",
    SocketUnreader.__init__: "e8f9de555670",
    Body.__init__: "a7db1b5b04ec",
    Body.read: "fc1375d3ddfc",
    create: "aaadff15e88a",
    Response.start_response: "eb0975335750",
    Response.write: "a13659ff072c",
    Response.close: "1e78fc7777ff",
    Response.force_close: "656092cce3c3",
    Response.should_close: "3888d47a96e2",
    Response.send_headers: "7aff3b7d004f",
    Arbiter.init_signals: "68125f99ad65",
    Arbiter.spawn_worker: "980b34bd12b9",
    Arbiter.manage_workers: "518f2dd040ef",
    Arbiter.signal: "8b193e95e16a",
    Arbiter.stop: "7138b6afd9c4",
}

# Attributes that Gunicorn sets and the server reads or sets.
ATTRIBUTES: dict[Any, str] = {
    BaseWorker.__init__: "cfg app log sockets alive booted ppid",
    BaseWorker.load_wsgi: "wsgi",
    ThreadWorker.__init__: "worker_connections tpool poller method_queue keepalived_conns max_keepalived",
    TConn.__init__: "cfg sock client server timeout parser data_ready",
    SocketUnreader.__init__: "sock mxchunk",
    Request.__init__: "method uri",
    Message.__init__: "version headers body _expected_100_continue",
}


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_overridden_methods_are_the_listed_ones(ours: type) -> None:
    theirs, methods = OVERRIDDEN[ours]
    inherited = {name for name in dir(theirs) if callable(getattr(theirs, name))} - set(dir(object))
    own_classes = [kind for kind in ours.__mro__ if kind.__module__.startswith("serving.")]
    defined = {name for kind in own_classes for name in vars(kind)}
    assert (defined & inherited) | (defined & {"__init__"}) == methods.keys()


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_overridden_methods_have_the_expected_parameters(ours: type) -> None:
    theirs, methods = OVERRIDDEN[ours]
    found = {name: str(inspect.signature(getattr(theirs, name)))[1:-1] for name in methods}
    assert found == methods


@pytest.mark.parametrize("function", USED, ids=lambda function: function.__qualname__)
def test_used_functions_are_unchanged(function: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
    assert source_hash(function) == USED[function]


@pytest.mark.parametrize("function", ATTRIBUTES, ids=lambda function: function.__qualname__)
def test_used_attributes_are_set(function: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
    source = inspect.getsource(function)
    assert [name for name in ATTRIBUTES[function].split() if f"self.{name} =" not in source] == []


def test_seam_documents_each_overridden_method() -> None:
    documented = gunicorn_seam.__doc__ or ""
    names = [name for name in OVERRIDDEN[Worker][1] if f"`{name}(" not in documented]
    assert names == []


def source_hash(function: Any) -> str:  # noqa: ANN401  (Gunicorn's own)
    """The first 12 hexadecimal digits of the SHA-256 of a function's source."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]
