"""Everything that the routes share, made once when the worker starts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from platform import python_version
from threading import Lock
from typing import Self

from flask import Request, g

from serving.api import request_images
from serving.api.access_control import Access
from serving.api.admission import Admission
from serving.api.body_reader import Bodies, Held, gone, turn
from serving.api.classifier import Classifier
from serving.api.cors import Cors
from serving.api.errors import DocumentMalformed, ImagesTooMany, NotReady, RequestError, WorkerStuck
from serving.api.metrics import Metrics
from serving.api.model_repository import Catalogue
from serving.api.model_statistics import Tally
from serving.artifact.release import Release
from serving.config import Settings
from serving.model.decoder import Pixels
from serving.model.predictor import Predictor, Probabilities
from serving.server.drain import Drain
from serving.server.restart_counter import RestartCounter
from serving.server.watchdog import Watchdog

# What answers depend on besides the bundle.
RUNTIME = ("onnxruntime", "pillow", "numpy")


@dataclass(frozen=True)
class Service:
    """`difference` is how far the golden answers were from what was recorded."""

    settings: Settings
    release: Release
    predictor: Predictor
    difference: float
    golden_images: int
    tolerance: float
    drain: Drain
    restarts: RestartCounter
    watchdog: Watchdog
    access: Access
    cors: Cors
    bodies: Bodies
    metrics: Metrics
    classifier: Classifier
    catalogue: Catalogue
    runtime: dict[str, str]

    @classmethod
    def start(
        cls,
        settings: Settings,
        release: Release,
        slots: int,
        drain: Drain,
        restarts: RestartCounter | None = None,
    ) -> Self:
        """Loads the model and has it answer the golden images; raises a `ServingError` if that fails."""
        predictor = Predictor.from_bundle(release.bundle)
        golden = predictor.bundle.golden_images()
        difference = predictor.check_golden()
        admission = Admission(slots, settings.queue)
        bodies = Bodies(settings)
        names = tuple(label.name for label in predictor.labels)
        few = len(names) <= settings.metrics_classes
        metrics = Metrics(release.pin, names if few else ())
        restarts = restarts or RestartCounter()
        metrics.watch(admission, bodies, restarts)
        return cls(
            settings=settings,
            release=release,
            predictor=predictor,
            difference=difference,
            golden_images=len(golden),
            tolerance=min(entry.tolerance for entry in golden),
            drain=drain,
            restarts=restarts,
            watchdog=Watchdog(admission.held, settings.deadline),
            access=Access(settings.api_keys, settings.rate_limit, settings.api_keys_file),
            cors=Cors(settings.cors_origins),
            bodies=bodies,
            metrics=metrics,
            classifier=Classifier(predictor, admission, metrics, settings.deadline, Tally(), Tally(), Lock()),
            catalogue=Catalogue(release.pin, predictor.preprocessing.size, predictor.labels),
            runtime={"python": python_version()} | {name: version(name) for name in RUNTIME},
        )

    @property
    def unready(self) -> NotReady | WorkerStuck | None:
        """Why nobody should be sent here, if so.

        The golden images were answered before the first request: a worker that fails them never gets here.
        """
        if self.drain.begun:
            return NotReady()
        return WorkerStuck(self.watchdog.longest_held) if self.watchdog.unready else None

    def check_ready(self) -> None:
        """Raises `NotReady` or `WorkerStuck` if nobody should be sent here."""
        if reason := self.unready:
            raise reason

    @contextmanager
    def body(self, request: Request, refusal: RequestError | None = None) -> Iterator[Held]:
        """The body of a request that may ask, and for which there is a place.

        `refusal` is raised to whoever may ask: nobody shall send a body to hear what the head has shown.
        """
        client = self.access.check(request)
        if refusal:
            raise refusal
        # Before the body is read, and again when its turn is asked for.
        self.classifier.admission.check(turn(request.environ).queue_full)
        with self.bodies.read(request.environ, client) as held:
            yield held

    @contextmanager
    def images(self, request: Request, limit: int) -> Iterator[list[bytes]]:
        """The images of a form, or the body as the only one; at most `limit`."""
        with self.body(request) as held:
            yield request_images.images(request.content_type or "", held.take(), limit)

    def classify(self, request: Request, images: Sequence[bytes] | Pixels) -> list[Probabilities]:
        """Probabilities, float32 [K], for each image of a request, encoded or uint8 [S,S,3]."""
        if len(images) == 0:
            raise DocumentMalformed("it holds no image")
        if len(images) > self.settings.max_images:
            raise ImagesTooMany(len(images), self.settings.max_images)
        return self.classifier.classify(images, g.trace, partial(gone, request.environ))
