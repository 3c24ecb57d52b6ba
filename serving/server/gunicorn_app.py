"""Gunicorn, told how to serve one model: one process, many threads, few of them at work."""

import math
import resource
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from serving.artifact.release import Release
from serving.config import Settings
from serving.errors import ServingError
from serving.log import GunicornLog
from serving.nonblocking_output import Output
from serving.server.drain import Drain
from serving.server.master import Master
from serving.server.memory import give_back, keep, limit
from serving.server.restart_counter import Restarts
from serving.server.watchdog import patience

# Threads besides those that have a slot, wait for a body, or are told that they have waited too long.
SPARE_THREADS = 8
# Threads for what needs no model and for health checks, at most.
LIGHT_AND_PROBES = 80
# Connections at most, at least, and descriptors that are for other things.
MAX_CONNECTIONS, MIN_CONNECTIONS, SPARE_DESCRIPTORS = 4096, 100, 100
# Seconds beyond those for work in flight, in which the worker tells whom it could not answer and ends.
END_SECONDS = 2
MEMORY = Path("/dev/shm")  # noqa: S108


class Server(BaseApplication):  # type: ignore[misc]
    """The master process. Its worker loads the model, after the fork: engines may start threads."""

    def __init__(self, settings: Settings, release: Release, slots: int) -> None:
        self.settings, self.release, self.slots = settings, release, slots
        self.drain, self.restarts = Drain(), Restarts()
        super().__init__()

    def load_config(self) -> None:
        """Every setting that is not Gunicorn's default, with its reason."""
        settings = self.settings
        chosen: dict[str, Any] = {
            "bind": [settings.address_at(port) for port in settings.ports],
            # One process: a second one gives no more answers (benchmarks/sweep.json), would hold the model
            # twice, and metrics would need files.
            "workers": 1,
            "worker_class": "serving.server.worker.PatientWorker",
            "threads": self.slots + settings.queue + settings.uploads + SPARE_THREADS,
            # Each costs a file descriptor, and little else until the head of a request is complete.
            "worker_connections": max(MIN_CONNECTIONS, _descriptors() - SPARE_DESCRIPTORS),
            "keepalive": settings.keepalive,
            # The worker's heartbeat comes from its event loop, which no request holds up. Gunicorn looks for
            # it after the first one, so loading a model may take longer.
            "timeout": math.ceil(patience(settings.deadline)),
            # The worker takes `grace`; this is when it is killed.
            "graceful_timeout": settings.grace + END_SECONDS,
            # The heartbeat's file; on a read-only disk this is what can be written.
            "worker_tmp_dir": str(MEMORY) if MEMORY.is_dir() else None,
            # It would be a socket in the home directory, which a container may not have.
            "control_socket_disable": True,
            # Answers leave in one piece, so a file in one is read like everything else.
            "sendfile": False,
            # X-Forwarded-* headers are for ProxyFix alone, which is told how many proxies there are.
            "forwarded_allow_ips": "",
            "proc_name": f"goldfish-{settings.model}",
            "logger_class": GunicornLog,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401  (a WSGI application)
        """Called in the worker: loads the model, has it prove itself, and makes the application."""
        # Not before: the master needs neither ONNX Runtime nor Flask, and stays small.
        from serving.api.app import application

        give_back()
        try:
            app = application(self.settings, self.release, self.slots, self.drain, self.restarts)
        except ServingError as error:
            told = Output(sys.stderr.fileno())
            told.write(f"{error}\n".encode())
            told.flush()
            sys.exit(Arbiter.APP_LOAD_ERROR)
        keep()
        limit(self.slots, self.settings.body_budget_bytes, self.cfg.threads + LIGHT_AND_PROBES)
        return app

    def run(self) -> None:
        """Serves until a signal ends it, and ends the process."""
        Master(self).run()


def _descriptors() -> int:
    """How many descriptors a process may have, after asking for as many as are needed and granted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return granted
