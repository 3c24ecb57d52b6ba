"""Brings one model to the version that its pin, or an alias of the registry, names."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from serving.api.model_versions import ModelVersions
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_local_bundle, load_release, pulled_folder
from serving.config import Settings
from serving.errors import ServingError
from serving.log import LOG
from serving.trial.decision import State
from serving.updates.errors import LabelsChanged, PullFailed, TrialLost
from serving.updates.memory import ModelMemory
from serving.updates.pulling import pull
from serving.updates.targets import Target
from serving.updates.trials import Trials
from serving.workers.agreement import Agreement, Refusal
from serving.workers.shared_folder import ACTIVE_PREFIX, SharedFolder

# Errors of files that may be just about to be written, as by `dvc pull`: refused after some attempts.
DAMAGED, DAMAGED_ATTEMPTS = frozenset({"digest_mismatch", "file_missing", "file_unexpected"}), 3
# Errors after which another attempt may always succeed. Others are of the version itself.
TRANSIENT = frozenset(
    {
        "alias_unusable",
        "bundle_missing",
        "destination_taken",
        "digest_not_pinned",
        "file_unreadable",
        "pin_invalid",
        "pin_missing",
        "pull_failed",
        "registry_unavailable",
        "signature_missing",
        "version_missing",
    }
)
INTERNAL = "internal"
# Seconds before a failed attempt is repeated, which double each time: up to 17 minutes.
FIRST_DELAY, MAX_DOUBLINGS = 1.0, 10


@dataclass(frozen=True)
class UpdateStatus:
    """What is known of the version that should be served.

    `target` is None before it was read. `refusal`: why it is not served, until SIGHUP or a restart;
    `failure`: why the last attempt failed, which will be repeated. `succeeded` is when the target was last
    read and followed, or refused, in seconds since 1970.
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
    # How often the operator has allowed refused versions to be tried again.
    reloads: Callable[[], int]


class ModelUpdate:
    """Follows one target. Its methods are called by one thread only; `status` may be read by all."""

    def __init__(self, versions: ModelVersions, target: Target, shared: Shared) -> None:
        self.versions, self.target, self._shared = versions, target, shared
        self.status = UpdateStatus()
        self.trials = Trials(versions, shared.settings, shared.folder, shared.reloads)
        self._failures, self._next_attempt = 0, 0.0

    def look(self, at_once: bool = False) -> None:
        """Reads the target and follows it. `at_once`: also if the last attempt has failed just now."""
        self._drop_previous()
        try:
            target = self.target.read(at_once)
            if at_once or target != self.status.target:
                self._failures, self._next_attempt = 0, 0.0
                self.status = replace(self.status, target=target)
            if time.monotonic() < self._next_attempt:
                return
            refusal = self._follow(target)
        # Whatever fails, the server goes on with the version that it has.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            self._failures, self._next_attempt = 0, 0.0
            self.status = UpdateStatus(target, refusal, None, time.time())

    def _follow(self, target: Pin) -> Refusal | None:
        """Makes the target the active version, unless it is refused."""
        active, candidate = self.versions.active, self.trials.candidate
        if candidate and candidate.pin == target:
            return self._judge(candidate)
        self.trials.end()
        if target == active.pin:
            return None
        if target.digest == active.pin.digest:
            # The same bundle has another number.
            self.versions.relabel(_with_pin(active, target))
            self._announce(target)
            return None
        return self._shared.agreement.refusal(target.digest) or self._change_to(target)

    def _judge(self, candidate: ServedModel) -> Refusal | None:
        """Makes a candidate active that is as good as the active version, and refuses one that is worse."""
        decision = self.trials.judge()
        if decision.state is State.AS_GOOD:
            self._log("a trial was passed", candidate.pin, reason=decision.reason)
            self._activate(candidate, 0.0)
        elif decision.state is State.WORSE:
            self.trials.end()
            return self._refuse(candidate.pin, TrialLost(decision.reason))
        return None

    def _change_to(self, target: Pin) -> Refusal | None:
        began = time.monotonic()
        try:
            model = self._find_loaded(target) or self._load(target)
            if refusal := self._shared.agreement.await_others(target.digest):
                return refusal
            # The target may have moved while the version was loaded; then the next look follows it.
            if self.target.read(at_once=True) != target:
                return None
            seconds = time.monotonic() - began
            # The version before is known, and the way back to it should not take long.
            if self.trials.wanted and not self._is_previous(target):
                self.trials.begin(model)
                self._log("a trial begins", target, seconds=seconds)
            else:
                self._activate(model, seconds)
        except ServingError as error:
            if not self._is_lasting(error):
                raise
            return self._refuse(target, error)
        finally:
            self._shared.memory.update(loaded=target.name)
        return None

    def _is_previous(self, target: Pin) -> bool:
        previous = self.versions.loaded.previous
        return previous is not None and previous.pin.digest == target.digest

    def _find_loaded(self, target: Pin) -> ServedModel | None:
        """The version, if it is loaded already: that which was served before."""
        for _, model in self.versions.loaded:
            if model.pin.digest == target.digest:
                return _with_pin(model, target)
        return None

    def _load(self, target: Pin) -> ServedModel:
        """Finds or pulls the version, verifies it, and classifies its golden images."""
        settings, shared = self._shared.settings, self._shared
        self.target.check_allowed(target)
        bundle = find_local_bundle(settings, target)
        if bundle is None:
            pull(target, shared.folder)
            bundle = Bundle.open(pulled_folder(settings, target))
        shared.memory.allow(bundle)
        release = load_release(settings, target, bundle)
        model = ServedModel.load(release, shared.folder, settings.abstain_below)
        before = self.versions.active.labels
        if model.labels != before and not settings.allow_new_labels:
            raise LabelsChanged(before, model.labels)
        return model

    def _activate(self, model: ServedModel, seconds: float) -> None:
        shared, before = self._shared, self.versions.active.pin
        shared.prepare(model)
        self.versions.activate(model)
        self._announce(model.pin)
        shared.count(model.pin.name, "swapped")
        replaced = {"version": before.version, "digest": before.digest}
        self._log("the served version has changed", model.pin, replaced=replaced, seconds=seconds)

    def _announce(self, pin: Pin) -> None:
        """Tells the master process, from which later workers get their version."""
        self._shared.folder.write(ACTIVE_PREFIX + pin.name, pin.to_bytes())

    def _drop_previous(self) -> None:
        """Ends the time in which the version before stays loaded."""
        loaded = self.versions.loaded
        if loaded.previous and time.time() >= loaded.since + self._shared.settings.bake:
            self.versions.drop_previous()
            self._shared.agreement.unload(loaded.previous.pin.digest)
            self._shared.memory.update()

    def _is_lasting(self, error: ServingError) -> bool:
        """Is it the version that is at fault, so that another attempt would fail too?"""
        code = _code(error)
        if code in DAMAGED:
            return self._failures + 1 >= DAMAGED_ATTEMPTS
        return code not in TRANSIENT

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
            self._log("the target cannot be followed", None, code=failure.code, reason=failure.reason)
            if failure.code == INTERNAL:
                LOG.error("the cause", exc_info=error)
        self.status = replace(self.status, failure=failure)
        self._next_attempt = time.monotonic() + FIRST_DELAY * 2.0 ** min(self._failures, MAX_DOUBLINGS)
        self._failures += 1

    def _log(self, message: str, pin: Pin | None, **fields: Any) -> None:  # noqa: ANN401  (members of a line)
        identity = {"version": pin.version, "digest": pin.digest} if pin else {}
        log = LOG.warning if "code" in fields else LOG.info
        log(message, extra={"fields": {"model": self.versions.name, **identity, **fields}})


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
