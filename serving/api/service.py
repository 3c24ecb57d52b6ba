"""The objects that all routes share, created once when the worker starts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from platform import python_version
from threading import Lock
from typing import TYPE_CHECKING, Self

from flask import Request, g

from serving.api import request_images
from serving.api.access_control import AccessControl
from serving.api.admission_control import AdmissionControl
from serving.api.body_reader import BodyReader, BufferedBody
from serving.api.cached_requests import CachedRequests
from serving.api.classifier import Classifier, ExplainedImage
from serving.api.client_connection import client_disconnected, queue_timing
from serving.api.cors import Cors
from serving.api.errors import DocumentMalformed, ImagesTooMany, NotReady, RequestError, WorkerStuck
from serving.api.metrics import CallbackGauge, Metrics
from serving.api.model_gauges import model_gauges, update_gauges
from serving.api.model_repository import ModelEntry, ModelRepository
from serving.api.request_context import RequestContext
from serving.api.result_cache import ResultCache
from serving.api.served_model import ServedModel
from serving.api.trial_requests import TrialRequests
from serving.artifact.release import Release
from serving.config import Settings
from serving.explanation.explainer import Method
from serving.log import standard_output
from serving.model.decoder import Pixels
from serving.model.predictor import Prediction, Probabilities
from serving.server.drain import Drain
from serving.server.restart_counter import RestartCounter
from serving.server.watchdog import Watchdog
from serving.updates.memory import ModelMemory
from serving.updates.plan import Board
from serving.updates.shared import Shared
from serving.updates.update_thread import ModelUpdates
from serving.workers.worker_table import WorkerLoad
from serving.workers.workers import Workers, single_worker

if TYPE_CHECKING:
    from serving.api.span_export import SpanExport

# Packages whose versions, besides the bundle, can change predictions.
RUNTIME = ("onnxruntime", "pillow", "numpy")


@dataclass(frozen=True)
class Service:
    """What all models share, and the models."""

    settings: Settings
    models: ModelRepository
    updates: tuple[ModelUpdates, ...]
    shared: Shared
    drain: Drain
    restarts: RestartCounter
    watchdog: Watchdog
    access: AccessControl
    cors: Cors
    body_reader: BodyReader
    metrics: Metrics
    classifier: Classifier
    trial_requests: TrialRequests
    cached_requests: CachedRequests
    runtime: dict[str, str]
    spans: "SpanExport | None"

    @classmethod
    def start(
        cls,
        settings: Settings,
        releases: Sequence[Release],
        slots: int,
        drain: Drain,
        restarts: RestartCounter | None = None,
        workers: Workers | None = None,
    ) -> Self:
        """Loads the models and checks them on their golden images; raises a `ServingError` if that fails."""
        workers, restarts = workers or single_worker(), restarts or RestartCounter()
        # Before the models are loaded: it withdraws what a worker of the same number has said.
        board = Board(workers.folder, workers.table.live)
        loaded = [ServedModel.load(each, workers.folder, settings.abstain_below) for each in releases]
        models, metrics = ModelRepository(loaded), Metrics(workers)
        admission, body_reader = AdmissionControl(slots, settings.queue), BodyReader(settings)
        metrics.observe_server(partial(_loads, admission, body_reader, workers), slots, restarts)
        classifier = Classifier(admission, metrics, settings.deadline, Lock())
        shared = Shared(
            settings=settings,
            folder=workers.folder,
            board=board,
            memory=ModelMemory(loaded, settings.explain),
            prepare=partial(_prepare_metrics, metrics, settings.metrics_classes),
            count=metrics.count_change,
            reloads=lambda: restarts.reloads,
        )
        service = cls(
            settings=settings,
            models=models,
            updates=tuple(ModelUpdates.of(each, shared) for each in models.models),
            shared=shared,
            drain=drain,
            restarts=restarts,
            watchdog=Watchdog(admission.held_seconds, settings.deadline, workers.longest_held_elsewhere),
            access=AccessControl(
                settings.api_keys, settings.rate_limit, workers.folder, settings.api_keys_file
            ),
            cors=Cors(settings.cors_origins),
            body_reader=body_reader,
            metrics=metrics,
            classifier=classifier,
            trial_requests=TrialRequests(settings, classifier),
            cached_requests=CachedRequests(ResultCache(settings.cache_bytes), classifier),
            runtime={"python": python_version()} | {name: version(name) for name in RUNTIME},
            spans=_start_span_export(settings),
        )
        for model in loaded:
            shared.prepare(model)
        metrics.observe_gauges(service.gauges)
        return service

    def gauges(self) -> Iterator[CallbackGauge]:
        """Health of the server, and identity, golden check and drift of each model."""
        yield CallbackGauge("ready", "1 if /readyz gives 200, else 0.", float(self.readiness_error is None))
        for update in self.updates:
            yield from model_gauges(update.versions)
            reports = self.shared.board.read_reports(update.versions.name)
            yield from update_gauges(update.versions.name, reports)

    @property
    def readiness_error(self) -> NotReady | WorkerStuck | None:
        """Why a load balancer should send no requests here; None if the server is ready.

        The golden images need no check here: a worker that fails them does not start.
        """
        if self.drain.begun:
            return NotReady()
        return WorkerStuck(self.watchdog.longest_held) if self.watchdog.unready else None

    def check_ready(self) -> None:
        """Raises `NotReady` or `WorkerStuck` if the server is not ready."""
        if error := self.readiness_error:
            raise error

    @contextmanager
    def read_body(self, request: Request, error: RequestError | None = None) -> Iterator[BufferedBody]:
        """Checks access and capacity, then reads the body.

        `error` is one that the request's head has shown. It is raised after the access check and before the
        body is read: no client has to send a body that is not used.
        """
        client = self.access.check(request)
        if error:
            raise error
        # The queue is checked before the body is read, and again when a slot is acquired.
        self.classifier.admission.check_capacity(queue_timing(request.environ).queue_full)
        with self.body_reader.read(request.environ, client) as body:
            yield body

    @contextmanager
    def read_images(self, request: Request, limit: int) -> Iterator[list[bytes]]:
        """The encoded images in the body of a request, at most `limit`."""
        with self.read_body(request) as body:
            yield request_images.parse_images(request.content_type or "", body.take(), limit)

    def classify(self, request: Request, images: Sequence[bytes] | Pixels) -> list[Probabilities]:
        """Probabilities, float32 [K], for each image of a request, encoded or uint8 [H,W,C]."""
        return [prediction.probabilities for prediction in self.predict(request, images)]

    def predict(self, request: Request, images: Sequence[bytes] | Pixels) -> list[Prediction]:
        """The same with all that the model says of each image. `g.model` is then the one that answered."""
        is_cached = self.cached_requests.cache.limit > 0
        if not g.trial and not is_cached:
            return self.predict_with(g.model, request, images, g.context)
        self._check_number(images)
        if not g.trial:
            return self.cached_requests.predict(g.model, request, images)
        g.model, predictions = self.trial_requests.predict(g.trial, g.model, request, images)
        return predictions

    def predict_with(
        self,
        model: ServedModel,
        request: Request,
        images: Sequence[bytes] | Pixels,
        context: RequestContext,
    ) -> list[Prediction]:
        """The predictions of a model, for a request that is part of no trial and not to be cached."""
        self._check_number(images)
        disconnected = partial(client_disconnected, request.environ)
        return self.classifier.classify(model, images, context, disconnected)

    def _check_number(self, images: Sequence[bytes] | Pixels) -> None:
        """Raises `DocumentMalformed` without images, and `ImagesTooMany`."""
        if len(images) == 0:
            raise DocumentMalformed("it holds no image")
        if len(images) > self.settings.max_images:
            raise ImagesTooMany(len(images), self.settings.max_images)

    def explain(
        self, request: Request, image: bytes, number: int | None, method: Method | None, as_picture: bool
    ) -> ExplainedImage:
        """Why an encoded image is of the class with this number; None: of the most probable class."""
        disconnected = partial(client_disconnected, request.environ)
        return self.classifier.explain(g.model, image, number, method, as_picture, g.context, disconnected)

    def find_model(self, name: str, version: str | None = None, label: str | None = None) -> ModelEntry:
        """The entry that a request addresses; raises `ModelUnknown`.

        Its model answers the request, or perhaps the candidate if it names neither version nor label.
        """
        entry = self.models.find(name, version, label)
        g.model, g.trial = entry.model, None if version or label else entry.trial
        return entry

    def find_queried_model(self, query: Mapping[str, str]) -> None:
        """Has the model of the query answer, if it has `model` or `version`; raises `ModelUnknown`."""
        name, version = query.get("model"), query.get("version")
        if name is not None or version is not None:
            self.find_model(name or self.models.models[0].name, version)

    def use_default(self) -> None:
        """Has the default model answer the request."""
        loaded = self.models.models[0].loaded
        g.model, g.trial = loaded.active, loaded.trial


def _start_span_export(settings: Settings) -> "SpanExport | None":
    """Sends spans from now on, if there is a URL. Without one the library is not even imported."""
    if not settings.traces_url:
        return None
    from serving.api.span_export import SpanExport

    return SpanExport.start(settings.traces_url, settings.span_batch)


def _loads(admission: AdmissionControl, body_reader: BodyReader, workers: Workers) -> list[WorkerLoad]:
    """What each worker is doing, this one first."""
    own = WorkerLoad(
        admission.busy,
        admission.queue_length,
        body_reader.held_bytes,
        lines_dropped=standard_output().dropped,
    )
    return [own, *workers.others()]


def _prepare_metrics(metrics: Metrics, max_classes: int, model: ServedModel) -> None:
    """Has the metrics count a version that is about to become active."""
    labels = [label.name for label in model.labels]
    metrics.add_model(model.pin.name, labels if len(labels) <= max_classes else [])
