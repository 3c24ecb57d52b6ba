"""Prometheus metrics. Label values are routes, statuses and codes, never text that a client has sent."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from serving.server.restart_counter import RestartCounter
from serving.server.thread_pool import acquire_yielding_slot, yield_slot
from serving.workers.shared_folder import SharedFolder
from serving.workers.worker_table import WorkerLoad
from serving.workers.workers import Workers

# Seconds, from a small model on a fast core up to a typical client timeout.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# What becomes of an attempt to change the served version.
CHANGES = ("swapped", "refused", "failed")
# Keys that have series of their own, and the label of all others, which is no valid key name.
MAX_KEY_SERIES, OTHER_KEYS = 100, "(other)"
# Metrics of a process that are not summed over the workers.
NOT_SUMMED = frozenset({"process_start_time_seconds", "process_max_fds"})
# Seconds between two renderings, each of which holds the GIL for some milliseconds.
RENDER_INTERVAL = 0.05
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def share_values(folder: SharedFolder) -> None:
    """Has all metrics that are made from now on keep their values in files, by worker.

    Workers add to files of their own, and a worker that takes the place of another one goes on with its file.
    The library reads the folder from an environment variable whenever it opens a file.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder.path)
    values.ValueClass = values.MultiProcessValue(lambda: folder.worker)  # type: ignore[no-untyped-call]


class ProcessSums(Collector):
    """The library's metrics of a process, summed over all workers."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        sums: dict[str, Metric] = {}
        for pid in self._pids():
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                if total := sums.get(metric.name):
                    combine = min if metric.name in NOT_SUMMED else sum
                    (one,), (other,) = total.samples, metric.samples
                    total.samples = [one._replace(value=combine((one.value, other.value)))]
                else:
                    sums[metric.name] = metric
        yield from sums.values()


class CallbackCounter(Collector):
    """A counter whose value is read from a function when the metrics are rendered."""

    def __init__(self, name: str, text: str, read: Callable[[], int]) -> None:
        self._name, self._text, self._read = f"goldfish_{name}", text, read

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, self._read())


class CallbackGauge(NamedTuple):
    """One value of a gauge; `name` is without the prefix."""

    name: str
    text: str
    value: float
    labels: dict[str, str] = {}  # noqa: RUF012  (never changed)


class CallbackGauges(Collector):
    """Gauges that are read from a function when the metrics are rendered; what it leaves out is absent."""

    def __init__(self, read: Callable[[], Iterable[CallbackGauge]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, value, labels in self._read():
            if name not in families:
                families[name] = GaugeMetricFamily(f"goldfish_{name}", text, labels=list(labels))
            families[name].add_metric(list(labels.values()), value)
        yield from families.values()


def _lines_dropped(loads: Callable[[], list[WorkerLoad]]) -> int:
    return sum(load.lines_dropped for load in loads())


def _load_gauges(loads: Callable[[], list[WorkerLoad]], slots: int) -> Iterator[CallbackGauge]:
    """What all workers together are doing."""
    now = loads()
    busy, waiting, body_bytes = (sum(each) for each in list(zip(*now, strict=True))[:3])
    yield CallbackGauge("queue_depth", "Requests that wait for a slot.", waiting)
    yield CallbackGauge("slots_busy", "Requests that are being decoded and classified.", busy)
    yield CallbackGauge("slots", "Requests that may be decoded and classified at once.", slots)
    yield CallbackGauge("body_bytes", "Bytes of all request bodies in memory.", body_bytes)
    yield CallbackGauge("workers", "Worker processes.", len(now))


class Metrics:
    """The metrics of one server, whose models are added with `add_model`."""

    def __init__(self, workers: Workers) -> None:
        # Not the library's global registry: a process may hold several servers, as in tests.
        self._registry = CollectorRegistry()
        PlatformCollector(registry=self._registry)
        self._registry.register(ProcessSums(workers.table.pids))
        share_values(workers.folder)
        # The metrics themselves are in no registry: they have the values of this worker alone.
        MultiProcessCollector(self._registry, str(workers.folder.path))  # type: ignore[no-untyped-call]
        self._render_lock, self._rendered_at, self._text = threading.Lock(), 0.0, b""
        self._requests = Counter(
            "goldfish_requests", "Requests by route and status.", ["route", "status"], registry=None
        )
        self._seconds = Histogram(
            "goldfish_request_seconds",
            "From the head of a request to its response.",
            ["route"],
            buckets=BUCKETS,
            registry=None,
        )
        self._refusals = Counter(
            "goldfish_refusals", "Requests that were refused, by code.", ["code"], registry=None
        )
        self._key_requests = Counter(
            "goldfish_key_requests", "Requests by API key and status.", ["key", "status"], registry=None
        )
        self._keys: set[str] = set()
        self.queue = self._histogram("queue", "Time that a request waited for a thread or a slot.")
        self.decode = self._histogram("decode", "From encoded bytes to pixels, one image.")
        self.inference = Histogram(
            "goldfish_inference_seconds",
            "From pixels to probabilities, one image.",
            ["model"],
            buckets=BUCKETS,
            registry=None,
        )
        self._confidence = Histogram(
            "goldfish_confidence",
            "Probability of the best class.",
            ["model"],
            buckets=CONFIDENCE_BUCKETS,
            registry=None,
        )
        self._predictions = Counter(
            "goldfish_predictions", "Images by best class.", ["model", "label"], registry=None
        )
        self._labels: dict[str, frozenset[str]] = {}
        self._cache = Counter(
            "goldfish_cache_requests", "Requests by result in the cache.", ["result"], registry=None
        )
        self._changes = Counter(
            "goldfish_model_changes",
            "Attempts to change the served version, by result.",
            ["model", "result"],
            registry=None,
        )

    def add_model(self, name: str, labels: Sequence[str]) -> None:
        """Adds a model, whose predictions are counted by label for the given labels."""
        self._labels[name] = frozenset(labels)
        self.inference.labels(name)
        self._confidence.labels(name)
        for label in labels:
            self._predictions.labels(name, label)
        for result in CHANGES:
            self._changes.labels(name, result)

    def observe_server(
        self, loads: Callable[[], list[WorkerLoad]], slots: int, restarts: RestartCounter
    ) -> None:
        """Adds what is read when the metrics are rendered: `loads` of all workers, and counts of restarts."""
        self.observe_gauges(partial(_load_gauges, loads, slots))
        for name, text, read_counter in (
            ("worker_restarts", "Worker processes that replaced another one.", lambda: restarts.count),
            ("log_lines_dropped", "Log lines that could not be written.", lambda: _lines_dropped(loads)),
            ("workers_stuck", "Workers replaced because of a request without end.", lambda: restarts.stuck),
        ):
            self._registry.register(CallbackCounter(name, text, read_counter))

    def observe_gauges(self, read: Callable[[], Iterable[CallbackGauge]]) -> None:
        """Adds gauges that may be absent: those that `read` returns."""
        self._registry.register(CallbackGauges(read))

    def count_request(self, route: str, status: int, seconds: float, code: str | None) -> None:
        """Counts a request that was answered; `code` is that of its error."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if code is not None:
            self._refusals.labels(code).inc()

    def count_key_request(self, name: str, status: int) -> None:
        """Counts a request by the name of its API key."""
        if len(self._keys) < MAX_KEY_SERIES:
            self._keys.add(name)
        self._key_requests.labels(name if name in self._keys else OTHER_KEYS, str(status)).inc()

    def count_change(self, model: str, result: str) -> None:
        """Counts an attempt to change the version of a model; `result` is one of `CHANGES`."""
        self._changes.labels(model, result).inc()

    def count_cache(self, hit: bool) -> None:
        """Counts a request that was looked up in the result cache."""
        self._cache.labels("hit" if hit else "miss").inc()

    def count_answer(self, model: str, label: str, score: float) -> None:
        """Counts an image by the model that has answered and its best class."""
        self._confidence.labels(model).observe(score)
        if label in self._labels[model]:
            self._predictions.labels(model, label).inc()

    def render(self, requested_at: float) -> bytes:
        """All metrics in Prometheus' text format, rendered at `requested_at` (monotonic) or later.

        Requests that arrived before the last rendering began share its text, so many scrapers cost no more
        than one.
        """
        with acquire_yielding_slot(self._render_lock):
            if self._rendered_at < requested_at:
                with yield_slot():
                    time.sleep(max(0.0, self._rendered_at + RENDER_INTERVAL - time.monotonic()))
                self._rendered_at = time.monotonic()
                self._text = generate_latest(self._registry)
            return self._text

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"goldfish_{name}_seconds", text, buckets=BUCKETS, registry=None)
