"""Does what the plan says, in each worker: loads versions, swaps, begins and ends trials, drops versions."""

import time
from dataclasses import dataclass, field

from serving.api.model_versions import LoadedVersions, ModelVersions
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_local_bundle, load_release
from serving.errors import ServingError
from serving.server.memory import trim_memory
from serving.trial.decision import Rules
from serving.updates.errors import DAMAGED, LASTING, LabelsChanged, code_of
from serving.updates.plan import Plan, Refusal, Version
from serving.updates.pulling import Pulls
from serving.updates.shared import Shared
from serving.updates.trial import Trial
from serving.workers.shared_folder import ACTIVE_PREFIX

# Seconds before a failed attempt is repeated, which double each time: up to 17 minutes.
FIRST_DELAY, MAX_DOUBLINGS = 1.0, 10
# Files may be just about to be written, as by `dvc pull`: damaged ones are refused after so many attempts.
DAMAGED_ATTEMPTS = 3


@dataclass
class Attempts:
    """Failed attempts to load a digest, and when the next one may be made (monotonic seconds)."""

    failed: int = 0
    damaged: int = 0
    next: float = 0.0


@dataclass
class Applier:
    """Keeps the loaded versions of one model as planned. Called by one thread only."""

    versions: ModelVersions
    shared: Shared
    pulls: Pulls = field(default_factory=Pulls)

    def __post_init__(self) -> None:
        active = self.versions.active
        self._loaded: dict[str, ServedModel] = {active.pin.digest: active}
        self._attempts: dict[str, Attempts] = {}
        self._reloads = self.shared.reloads()

    def look(self) -> None:
        """Loads what is planned and not loaded yet, and has the versions answer as planned."""
        plan = self.shared.board.read_plan(self.versions.name)
        if plan is None:
            return
        if (reloads := self.shared.reloads()) != self._reloads:
            self._reloads, self._attempts = reloads, {}
        self.pulls.keep({version.digest for version in plan.wanted})
        for version in plan.wanted:
            if version.digest not in self._loaded and not self.shared.board.refusal(version.digest):
                self._try_to_load(version, plan)
        self._apply(plan)
        self._drop(plan)
        wanted = {version.digest for version in plan.wanted}
        self.shared.board.say_loaded(wanted & self._loaded.keys())

    def _apply(self, plan: Plan) -> None:
        """Swaps, by one assignment."""
        active = self._loaded.get(plan.active.digest)
        if active is None:
            # A worker that has started lately goes on with what the master process has given it.
            return
        active = self._with_number(active, plan.active)
        before = self.versions.loaded
        if active.pin.digest != before.active.pin.digest:
            self.shared.prepare(active)
        if active.pin != before.active.pin:
            # For the master process, from which later workers get their version.
            self.shared.folder.write(ACTIVE_PREFIX + self.versions.name, active.pin.to_bytes())
        previous = self._loaded.get(plan.previous.digest) if plan.previous else None
        trial = self._trial(plan, active)
        found = LoadedVersions(active, trial, previous, plan.since)
        if found != before:
            self.versions.loaded = found

    def _trial(self, plan: Plan, active: ServedModel) -> Trial | None:
        candidate = self._loaded.get(plan.candidate.digest) if plan.candidate else None
        if candidate is None or plan.candidate is None:
            return None
        present = self.versions.loaded.trial
        if present and present.name == plan.trial:
            return present
        settings = self.shared.settings
        rules = Rules(agreement_floor=settings.agreement, max_slowdown=settings.max_slowdown)
        candidate = self._with_number(candidate, plan.candidate)
        return Trial(active, candidate, rules, self.shared.folder, plan.trial)

    def _with_number(self, model: ServedModel, version: Version) -> ServedModel:
        """The model under the number of the plan: the same bundle may have several."""
        if model.pin.version != version.version:
            model = model.with_pin(self._pin(version))
            self._loaded[version.digest] = model
        return model

    def _drop(self, plan: Plan) -> None:
        """Forgets versions that are not planned; their memory is free once no request uses them."""
        kept = plan.kept | {self.versions.active.pin.digest}
        if self._loaded.keys() - kept:
            self._loaded = {digest: model for digest, model in self._loaded.items() if digest in kept}
            self._hold_memory()
            trim_memory()
        self._attempts = {digest: each for digest, each in self._attempts.items() if digest in kept}

    def _try_to_load(self, version: Version, plan: Plan) -> None:
        """Loads a version; if that fails, refuses it for all workers or notes when to try again."""
        attempts = self._attempts.setdefault(version.digest, Attempts())
        if time.monotonic() < attempts.next:
            return
        board, began = self.shared.board, time.monotonic()
        try:
            model = self._load(self._pin(version), plan)
        # Whatever fails, the server goes on with what it has.
        except Exception as error:  # noqa: BLE001
            self._hold_memory()
            self._note_failure(version, attempts, error)
            return
        if model:
            self._loaded[version.digest] = model
            self._hold_memory()
            self._attempts.pop(version.digest)
            board.say_failed(version.digest, None)
            seconds = time.monotonic() - began
            self.shared.log("a version is loaded", self.versions.name, version, seconds=seconds)

    def _load(self, pin: Pin, plan: Plan) -> ServedModel | None:
        """Finds, verifies and loads a version, and classifies its golden images.

        The leading worker pulls it if it is not here; None until it is.
        """
        settings = self.shared.settings
        bundle = find_local_bundle(settings, pin)
        if bundle is None:
            if self.shared.board.is_leader:
                self.pulls.start(pin, plan.kept)
            return None
        self._hold_memory(bundle)
        release = load_release(settings, pin, bundle)
        model = ServedModel.load(release, self.shared.folder, settings.abstain_below)
        before = self.versions.active.labels
        if model.labels != before and not settings.allow_new_labels:
            raise LabelsChanged(before, model.labels)
        return model

    def _note_failure(self, version: Version, attempts: Attempts, error: Exception) -> None:
        failure = Refusal(code_of(error), str(error) or type(error).__name__)
        attempts.damaged += failure.code in DAMAGED
        if failure.code in LASTING or attempts.damaged >= DAMAGED_ATTEMPTS:
            self.shared.board.say_failed(version.digest, None)
            self.shared.refuse(self.versions.name, version, failure)
            return
        if not isinstance(error, ServingError | OSError | MemoryError):
            self.shared.log_exception("a version could not be loaded", error)
        self.shared.board.say_failed(version.digest, failure)
        attempts.next = time.monotonic() + FIRST_DELAY * 2.0 ** min(attempts.failed, MAX_DOUBLINGS)
        attempts.failed += 1

    def _hold_memory(self, loading: Bundle | None = None) -> None:
        self.shared.memory.hold(self.versions.name, self._loaded.values(), loading)

    def _pin(self, version: Version) -> Pin:
        return Pin(self.versions.name, version.version, version.digest)
