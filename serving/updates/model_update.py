"""Brings one model to the version that its pin names."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from serving.api.model_versions import ModelVersions
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_local_bundle, load_release, pulled_folder
from serving.config import Settings
from serving.errors import ServingError
from serving.log import LOG
from serving.updates.errors import LabelsChanged, PullFailed
from serving.updates.memory import ModelMemory
from serving.updates.pulling import pull
from serving.workers.agreement import Agreement, Refusal
from serving.workers.shared_folder import ACTIVE_PREFIX, SharedFolder

# Errors after which another attempt may succeed. Others are of the version itself.
TRANSIENT = frozenset(
    {
        "bundle_missing",
        "destination_taken",
        "file_unreadable",
        "pin_invalid",
        "pin_missing",
        "pull_failed",
        "registry_unavailable",
        "version_missing",
    }
)
INTERNAL = "internal"
# Seconds before a failed attempt is repeated, which double each time.
FIRST_DELAY, LONGEST_DELAY = 1.0, 600.0


@dataclass(frozen=True)
class UpdateStatus:
    """What is known of the version that should be served.

    `target` is None before the pin was read. `refusal`: why it is not served, until SIGHUP or a restart;
    `failure`: why the last attempt failed, which will be repeated. `succeeded` is when the pin was last read
    and followed, in seconds since 1970.
    """

    target: Pin | None = None
    refusal: Refusal | None = None
    failure: Refusal | None = None
    succeeded: float = 0.0


@dataclass(frozen=True)
class Shared:
    """What the updates of all models use."""

    settings: Settings
    folder: SharedFolder
    agreement: Agreement
    memory: ModelMemory
    # Called before a version becomes active.
    prepare: Callable[[ServedModel], None]
    # Called with the name of a model and what became of an attempt to change it.
    count: Callable[[str, str], None]


class ModelUpdate:
    """`find_target` returns the pin of the version that should be served; it may raise."""

    def __init__(self, versions: ModelVersions, find_target: Callable[[], Pin], shared: Shared) -> None:
        self.versions, self._find_target, self._shared = versions, find_target, shared
        self.status = UpdateStatus()
        self._failures, self._next_attempt = 0, 0.0

    def look(self, at_once: bool = False) -> None:
        """Reads the target and follows it. `at_once`: also if the last attempt has failed just now."""
        if not at_once and time.monotonic() < self._next_attempt:
            return
        self._drop_previous()
        try:
            target = self._find_target()
            refusal = self._follow(target)
        # Whatever fails, the server goes on with the version that it has.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            self._failures, self._next_attempt = 0, 0.0
            self.status = UpdateStatus(target, refusal, None, time.time())

    def _follow(self, target: Pin) -> Refusal | None:
        """Makes the target the active version, unless it is refused."""
        active = self.versions.active
        if target == active.pin:
            return None
        if target.digest == active.pin.digest:
            # The same bundle has another number.
            self.versions.relabel(_with_pin(active, target))
            self._announce(target)
            return None
        return self._shared.agreement.refusal(target.digest) or self._change_to(target)

    def _change_to(self, target: Pin) -> Refusal | None:
        began = time.monotonic()
        try:
            model = self._find_loaded(target) or self._load(target)
            if refusal := self._shared.agreement.await_others(target.digest):
                return refusal
            # The target may have moved while the version was loaded; then the next look follows it.
            if self._find_target() == target:
                self._activate(model, time.monotonic() - began)
        except ServingError as error:
            if _code(error) in TRANSIENT:
                raise
            return self._refuse(target, error)
        finally:
            self._shared.memory.allow()
        return None

    def _find_loaded(self, target: Pin) -> ServedModel | None:
        """The version, if it is loaded already: that which was served before."""
        for _, model in self.versions.loaded:
            if model.pin.digest == target.digest:
                return _with_pin(model, target)
        return None

    def _load(self, target: Pin) -> ServedModel:
        """Finds or pulls the version, verifies it, and classifies its golden images."""
        settings, shared = self._shared.settings, self._shared
        bundle = self._find_bundle(target)
        shared.memory.allow(loading=bundle)
        release = load_release(settings, target, bundle)
        model = ServedModel.load(release, shared.folder, settings.abstain_below)
        before = self.versions.active.labels
        if model.labels != before and not settings.allow_new_labels:
            raise LabelsChanged(before, model.labels)
        return model

    def _find_bundle(self, target: Pin) -> Bundle:
        settings = self._shared.settings
        if settings.bundle is not None:
            return Bundle.open(settings.bundle)
        if bundle := find_local_bundle(settings, target):
            return bundle
        pull(target, self._shared.folder)
        return Bundle.open(pulled_folder(settings, target))

    def _activate(self, model: ServedModel, seconds: float) -> None:
        shared, before = self._shared, self.versions.active.pin
        shared.prepare(model)
        self.versions.activate(model)
        self._announce(model.pin)
        shared.count(model.pin.name, "swapped")
        self._log(
            "the served version has changed",
            model.pin,
            before={"version": before.version, "digest": before.digest},
            seconds=seconds,
        )

    def _announce(self, pin: Pin) -> None:
        """Tells the master process, from which later workers get their version."""
        self._shared.folder.write(ACTIVE_PREFIX + pin.name, pin.to_bytes())

    def _drop_previous(self) -> None:
        """Ends the bake time of the active version."""
        loaded = self.versions.loaded
        if loaded.previous and time.time() > loaded.since + self._shared.settings.bake:
            self.versions.drop_previous()
            self._shared.agreement.unload(loaded.previous.pin.digest)

    def _refuse(self, target: Pin, error: ServingError) -> Refusal:
        refusal = Refusal(_code(error), str(error))
        self._shared.agreement.refuse(target.digest, refusal)
        self._shared.count(target.name, "refused")
        self._log("a version is refused", target, code=refusal.code, reason=refusal.reason)
        return refusal

    def _fail(self, error: Exception) -> None:
        """Notes a failure, which is logged once, and sets the time of the next attempt."""
        failure = Refusal(_code(error), str(error) or type(error).__name__)
        if failure != self.status.failure:
            self._shared.count(self.versions.name, "failed")
            self._log("the pin cannot be followed", None, code=failure.code, reason=failure.reason)
            if failure.code == INTERNAL:
                LOG.error("the cause", exc_info=error)
        self.status = replace(self.status, failure=failure)
        self._next_attempt = time.monotonic() + min(
            LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 10)
        )
        self._failures += 1

    def _log(self, message: str, pin: Pin | None, **fields: Any) -> None:  # noqa: ANN401  (members of a line)
        identity = {"version": pin.version, "digest": pin.digest} if pin else {}
        log = LOG.warning if "code" in fields else LOG.info
        log(message, extra={"fields": {"model": self.versions.name, **identity, **fields}})


def pin_reader(settings: Settings, name: str) -> Callable[[], Pin]:
    """Reads the pin of a model from the workspace."""
    return partial(Pin.read, settings.pins / f"{name}.json")


def _with_pin(model: ServedModel, pin: Pin) -> ServedModel:
    return replace(model, release=replace(model.release, pin=pin))


def _code(error: Exception) -> str:
    match error:
        case PullFailed():
            return error.reason_code
        case ServingError():
            return error.code
        case MemoryError():
            return "memory_short"
        case OSError():
            return "system_error"
    return INTERNAL
