"""What Prometheus reads. Labels have few values: routes, statuses and codes, never what a client wrote."""

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from serving.api.admission import Admission
from serving.api.body_reader import Bodies
from serving.artifact.pin import Pin
from serving.log import standard_output
from serving.server.restart_counter import RestartCounter
from serving.server.thread_pool import acquire_yielding_slot, yield_slot

# Seconds: from a small model on a fast core to a client that is about to give up.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# Names of keys that are counted one by one, each with its statuses, and what all others are called. No key
# can have that name.
KEYS, OTHERS = 100, "(other)"
# Seconds from one reading to the next: each takes some milliseconds of the interpreter from all others.
PAUSE = 0.05
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Counted(Collector):
    """A counter that is kept elsewhere, and read when somebody looks."""

    def __init__(self, name: str, text: str, read: Callable[[], int]) -> None:
        self._name, self._text, self._read = f"goldfish_{name}", text, read

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, self._read())


class Metrics:
    """The series of one server. `labels` are counted one by one unless there are too many for that."""

    def __init__(self, pin: Pin, labels: tuple[str, ...]) -> None:
        # Not the library's global one: a process may hold several servers, as tests do.
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._reading, self._read, self._text = threading.Lock(), 0.0, b""
        self._requests = Counter(
            "goldfish_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "goldfish_request_seconds",
            "From the head of a request to its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._refusals = Counter(
            "goldfish_refusals", "Requests that were refused, by code.", ["code"], registry=registry
        )
        self._key_requests = Counter(
            "goldfish_key_requests", "Requests by API key and status.", ["key", "status"], registry=registry
        )
        self._keys: set[str] = set()
        self.queue = self._histogram("queue", "From the body of a request to its turn.")
        self.decode = self._histogram("decode", "From encoded bytes to pixels, one image.")
        self.inference = self._histogram("inference", "From pixels to probabilities, one image.")
        self._confidence = Histogram(
            "goldfish_confidence",
            "Probability of the class that was found most probable.",
            buckets=CONFIDENCE,
            registry=registry,
        )
        self._predictions = Counter(
            "goldfish_predictions", "Images by the class that was found.", ["label"], registry=registry
        )
        self._labels = frozenset(labels)
        for label in labels:
            self._predictions.labels(label)
        identity = {"name": pin.name, "version": str(pin.version), "digest": pin.digest}
        Gauge("goldfish_model_info", "Which model answers.", [*identity], registry=registry).labels(
            **identity
        ).set(1)

    def watch(self, admission: Admission, bodies: Bodies, restarts: RestartCounter) -> None:
        """Shows how full the server is, as it is when somebody looks."""
        for name, text, read in (
            ("queue_depth", "Requests that wait for a slot.", lambda: admission.depth),
            ("slots_busy", "Requests that are being decoded and classified.", lambda: admission.busy),
            ("slots", "Requests that may be decoded and classified at once.", lambda: admission.slots),
            ("body_bytes", "Bytes of all bodies that are held.", lambda: bodies.held),
        ):
            Gauge(f"goldfish_{name}", text, registry=self._registry).set_function(read)
        self._registry.register(
            Counted("worker_restarts", "Workers that took another's place.", lambda: restarts.count)
        )
        self._registry.register(
            Counted(
                "log_lines_dropped", "Lines of the log that nobody took.", lambda: standard_output().dropped
            )
        )
        self._registry.register(
            Counted("workers_stuck", "Those of them after a slot was held for ever.", lambda: restarts.stuck)
        )

    def request(self, route: str, status: int, seconds: float, code: str | None) -> None:
        """Counts a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if code is not None:
            self._refusals.labels(code).inc()

    def key(self, name: str, status: int) -> None:
        """Counts a request that came with a key."""
        if len(self._keys) < KEYS:
            self._keys.add(name)
        self._key_requests.labels(name if name in self._keys else OTHERS, str(status)).inc()

    def answer(self, label: str, score: float) -> None:
        """Counts an image that was classified, by its best class."""
        self._confidence.observe(score)
        if label in self._labels:
            self._predictions.labels(label).inc()

    def text(self, asked: float) -> bytes:
        """All series, as Prometheus reads them and as they were at a monotonic moment or later.

        Whoever asked before the last reading began gets that one, so many collectors cost no more than one.
        """
        with acquire_yielding_slot(self._reading):
            if self._read < asked:
                with yield_slot():
                    time.sleep(max(0.0, self._read + PAUSE - time.monotonic()))
                self._read = time.monotonic()
                self._text = generate_latest(self._registry)
            return self._text

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"goldfish_{name}_seconds", text, buckets=BUCKETS, registry=self._registry)
