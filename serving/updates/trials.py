"""Begins, judges and ends the trials of one model."""

import os
from collections.abc import Callable

import msgspec

from serving.api.model_versions import ModelVersions
from serving.api.served_model import ServedModel
from serving.config import Settings
from serving.trial.decision import Decision, Rules, State
from serving.updates.targets import candidate_alias
from serving.updates.trial import Trial
from serving.workers.shared_folder import SharedFolder


class Trials:
    """`reloads` returns how often refused versions were allowed to be tried again: then counts start at 0.

    `before_activation`: a new version becomes active only after its trial.
    """

    def __init__(
        self, versions: ModelVersions, settings: Settings, folder: SharedFolder, reloads: Callable[[], int]
    ) -> None:
        self._versions, self._folder, self._reloads = versions, folder, reloads
        self._rules = Rules(agreement_floor=settings.agreement, max_slowdown=settings.max_slowdown)
        has_candidate = candidate_alias(settings, versions.name) is not None
        self.before_activation = (settings.shadow > 0 or settings.canary > 0) and not has_candidate

    @property
    def candidate(self) -> ServedModel | None:
        """The version that is on trial."""
        trial = self._versions.loaded.trial
        return trial.candidate if trial else None

    @property
    def is_current(self) -> bool:
        """Is the trial against the version that is active now?"""
        loaded = self._versions.loaded
        return loaded.trial is not None and loaded.trial.active.pin.digest == loaded.active.pin.digest

    def begin(self, candidate: ServedModel) -> None:
        """Puts a version on trial against the active one. A trial that was interrupted is continued."""
        active = self._versions.active
        name = f"{self._reloads()}-{active.pin.digest[:32]}-{candidate.pin.digest[:32]}"
        self._versions.set_trial(Trial(active, candidate, self._rules, self._folder, name))

    def end(self) -> None:
        """Ends the trial, if there is one."""
        if self._versions.loaded.trial:
            self._versions.set_trial(None)

    def judge(self) -> Decision:
        """The decision on the present trial, on which all workers agree: the first final one is recorded."""
        trial = self._versions.loaded.trial
        if trial is None:
            return Decision(State.UNDECIDED, "there is no trial")
        name = f"decision-{trial.name}"
        if (recorded := self._folder.read(name)) is None:
            decision = trial.decision()
            if decision.state is State.UNDECIDED:
                return decision
            recorded = self._record(name, decision)
        return msgspec.json.decode(recorded, type=Decision)

    def _record(self, name: str, decision: Decision) -> bytes:
        """Records a decision, unless another worker was faster; returns the one that counts."""
        data = msgspec.json.encode(decision)
        own = f".{name}.{os.getpid()}"
        (self._folder / own).write_bytes(data)
        try:
            # Unlike a rename it does not replace a file that is there.
            (self._folder / name).hardlink_to(self._folder / own)
        except FileExistsError:
            return self._folder.read(name) or data
        finally:
            (self._folder / own).unlink()
        return data
