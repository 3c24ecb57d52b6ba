"""Gunicorn's configuration: few worker processes with many threads."""

import math
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from serving.api.admission_control import AdmissionControl
from serving.api.errors import RequestError
from serving.artifact.pin import Pin
from serving.artifact.release import Release, find_local_bundle, load_release
from serving.config import Settings
from serving.errors import ServingError
from serving.log import GunicornLog
from serving.nonblocking_output import NonblockingOutput
from serving.server.drain import Drain
from serving.server.master import Master
from serving.server.memory import (
    MemoryLimit,
    container_bytes,
    freeze_objects,
    memory_limit,
    own_bytes,
)
from serving.server.restart_counter import RestartCounter
from serving.server.watchdog import Watchdog, stuck_seconds
from serving.workers.shared_folder import ACTIVE_PREFIX, SharedFolder
from serving.workers.worker_plan import WorkerPlan, choose_workers
from serving.workers.worker_table import WorkerLoad, WorkerTable
from serving.workers.workers import Workers

# Threads for inference requests besides those that hold a slot, wait in the queue or wait for a body: they
# refuse requests whose deadline has passed in the queue.
SPARE_THREADS = 8
# Upper bound of the threads of all other pools.
OTHER_THREADS = 80
# Limits of the number of connections, and descriptors reserved for everything else.
MAX_CONNECTIONS, MIN_CONNECTIONS, RESERVED_DESCRIPTORS = 4096, 100, 100
# Seconds beyond the grace period in which the worker refuses unfinished requests and ends.
SHUTDOWN_SECONDS = 2
# Seconds beyond that, if spans are exported, in which the last ones are sent.
FLUSH_SECONDS = 2
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


class WorkerApplication(Protocol):
    """The WSGI application as the worker uses it, besides calling it."""

    admission: AdmissionControl
    watchdog: Watchdog
    restarts: RestartCounter
    # Either has every response close its connection: this worker stops, or it has many more connections than
    # another one.
    closing: bool
    crowded: bool

    @property
    def image_seconds(self) -> float:
        """Seconds that decoding and classifying a small image takes."""

    @property
    def body_budget_bytes(self) -> int:
        """Bytes of request bodies that this worker may hold."""

    @property
    def cache_bytes(self) -> int:
        """Bytes that its result cache may take."""

    def load(self) -> WorkerLoad:
        """What this worker is doing."""

    def take_share(self, slots: int, workers: int) -> None:
        """Limits what this worker may use of the server's capacity."""

    def start_updates(self, limit: MemoryLimit) -> None:
        """Limits the memory, and follows the pins from now on."""

    def stop_updates(self) -> None:
        """Follows them no more."""

    def stop_spans(self, seconds: float) -> None:
        """Sends the last spans, within these seconds."""

    def error_response(self, error: RequestError) -> bytes:
        """A complete response to what never became a request, counted and logged."""


class GunicornApp(BaseApplication):  # type: ignore[misc]
    """The master process. Its workers load the models, after the fork: ONNX Runtime may start threads.

    The libraries are imported before it, so that workers share their memory (docs/live.md) and start at once.
    `slots` is the number for all workers together, and in a worker its share.
    """

    def __init__(self, settings: Settings, releases: Sequence[Release], slots: int) -> None:
        self.settings, self.releases, self.slots = settings, list(releases), slots
        # By model, the pin of the version that was taken over last.
        self._refreshed: dict[str, bytes] = {}
        self.drain, self.restarts, self.folder = Drain(), RestartCounter(), SharedFolder.create()
        # Workers that have ended and were not replaced yet.
        self.ended = 0
        self.table = WorkerTable()
        self.plan = WorkerPlan(slots, settings.workers, self.table)
        super().__init__()

    def load_config(self) -> None:
        """Every setting that differs from Gunicorn's default, with its reason."""
        settings = self.settings
        flush_seconds = FLUSH_SECONDS if settings.traces_url else 0
        config: dict[str, Any] = {
            "bind": [settings.address_at(port) for port in settings.ports],
            # The first worker may choose a larger number (serving/workers/worker_plan.py).
            "workers": max(1, self.table.wanted),
            "child_exit": _forget_worker,
            "worker_class": "serving.server.worker.Worker",
            "threads": self.slots + settings.queue + settings.uploads + SPARE_THREADS,
            # Each costs a file descriptor, and little else until the head of a request is complete.
            "worker_connections": max(MIN_CONNECTIONS, _raise_descriptor_limit() - RESERVED_DESCRIPTORS),
            "keepalive": settings.keepalive,
            # The heartbeat comes from the worker's event loop, which no request blocks. Gunicorn checks it
            # only after the first one, so loading a model may take longer.
            "timeout": math.ceil(stuck_seconds(settings.deadline)),
            # The worker stops within `grace`; after this time it is killed.
            "graceful_timeout": settings.grace + SHUTDOWN_SECONDS + flush_seconds,
            # For the heartbeat's file: writable even where the disk is read-only.
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            # It would be a socket in the home directory, which a container may not have.
            "control_socket_disable": True,
            # Responses are sent in one call, so files are read into them.
            "sendfile": False,
            # Only ProxyFix reads X-Forwarded-* headers: it is given the number of proxies. As they change
            # nothing here, Gunicorn need not look up for each request who may send them.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "forwarded_allow_ips": "*",
            "proc_name": f"goldfish-{'+'.join(settings.names)}",
            "logger_class": GunicornLog,
        }
        for name, value in config.items():
            self.cfg.set(name, value)

    def load(self) -> WorkerApplication:
        """Called in the worker: loads the model, checks its golden predictions, makes the application."""
        # Imported here because this module is a part of what the application imports.
        from serving.api.app import load_application

        try:
            app = load_application(
                self.settings,
                self.releases,
                self.slots,
                self.drain,
                self.restarts,
                Workers(self.folder, self.table),
            )
        except ServingError as error:
            stderr = NonblockingOutput(sys.stderr.fileno())
            stderr.write(f"{error}\n".encode())
            stderr.flush()
            sys.exit(Arbiter.APP_LOAD_ERROR)
        freeze_objects()
        self._take_share(app)
        threads = self.cfg.threads + OTHER_THREADS
        limit = memory_limit(self.slots, app.body_budget_bytes, threads, app.cache_bytes, self.table.wanted)
        app.start_updates(limit)
        return app

    def _take_share(self, app: WorkerApplication) -> None:
        """Gives this worker its share of slots and memory. The first one chooses how many there are."""
        if not self.table.wanted:
            self.table.wanted = choose_workers(self.slots, app.image_seconds, own_bytes(), container_bytes())
        self.slots = self.plan.share(self.folder.worker)
        app.take_share(self.slots, self.table.wanted)

    def refresh_releases(self) -> None:
        """Takes over versions that the workers have made active, for workers that start later.

        What cannot be read here is loaded by such a worker itself, in the background. The signature was
        checked by the worker: here the registry could keep the master process from its own work.
        """
        settings = msgspec.structs.replace(self.settings, trusted_keys=())
        for index, release in enumerate(self.releases):
            data = self.folder.read(ACTIVE_PREFIX + release.pin.name)
            if data is None or data == self._refreshed.get(release.pin.name):
                continue
            with suppress(ServingError, OSError, MemoryError):
                pin = Pin.parse(data, Path(f"{release.pin.name}.json"))
                if pin != release.pin and (bundle := find_local_bundle(settings, pin)):
                    self.releases[index] = load_release(settings, pin, bundle)
                self._refreshed[release.pin.name] = data

    def run(self) -> None:
        """Serves until a signal stops it; ends the process."""
        Master(self).run()


def _forget_worker(master: Any, worker: Any) -> None:  # noqa: ANN401  (Gunicorn's own)
    """Called by the master process when a worker has ended."""
    master.app.table.leave(worker.pid)
    master.app.ended += 1


def _raise_descriptor_limit() -> int:
    """The number of descriptors that the process may have, raised as far as needed and granted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_DESCRIPTORS
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return granted
