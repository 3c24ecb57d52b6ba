"""Brings the active version of a model to what its pin, or an alias of the registry, names."""

import time

from serving.api.served_model import ServedModel
from serving.artifact.pin import Pin
from serving.server.memory import trim_memory
from serving.trial.decision import State
from serving.updates.errors import TrialLost
from serving.updates.follower import Follower
from serving.updates.loading import with_pin
from serving.workers.agreement import Refusal
from serving.workers.shared_folder import ACTIVE_PREFIX


class ActiveFollower(Follower):
    """Makes the version of the target active: at once, or after a trial if the settings ask for one."""

    def look(self, at_once: bool = False) -> None:
        self._drop_previous()
        super().look(at_once)

    def follow(self, target: Pin) -> Refusal | None:
        active, candidate = self.versions.active, self.trials.candidate
        if self.trials.before_activation:
            if candidate and candidate.pin == target:
                return self._judge(candidate)
            self.trials.end()
        if target == active.pin:
            return None
        if target.digest == active.pin.digest:
            # The same bundle has another number.
            self.versions.relabel(with_pin(active, target))
            self._announce(target)
            return None
        return self.shared.agreement.refusal(target.digest) or self._change_to(target)

    def _change_to(self, target: Pin) -> Refusal | None:
        began = time.monotonic()
        model = self.load(target)
        if isinstance(model, Refusal):
            return model
        if self.is_moved(target):
            # The next look follows it.
            return None
        seconds = time.monotonic() - began
        # The version before is known, and the way back to it should not take long.
        if self.trials.before_activation and not self._is_previous(target):
            self.trials.begin(model)
            self.log("a trial begins", target, seconds=seconds)
        else:
            self._activate(model, seconds)
        return None

    def _judge(self, candidate: ServedModel) -> Refusal | None:
        """Makes a candidate active that is as good as the active version, and refuses one that is worse."""
        decision = self.trials.judge()
        if decision.state is State.AS_GOOD:
            self.log("a trial was passed", candidate.pin, reason=decision.reason)
            self._activate(candidate, 0.0)
        elif decision.state is State.WORSE:
            self.trials.end()
            return self.refuse(candidate.pin, TrialLost(decision.reason))
        return None

    def _is_previous(self, target: Pin) -> bool:
        previous = self.versions.loaded.previous
        return previous is not None and previous.pin.digest == target.digest

    def _activate(self, model: ServedModel, seconds: float) -> None:
        before = self.versions.active.pin
        self.shared.prepare(model)
        self.versions.activate(model)
        self._announce(model.pin)
        self.shared.count(model.pin.name, "swapped")
        replaced = {"version": before.version, "digest": before.digest}
        self.log("the served version has changed", model.pin, replaced=replaced, seconds=seconds)

    def _announce(self, pin: Pin) -> None:
        """Tells the master process, from which later workers get their version."""
        self.shared.folder.write(ACTIVE_PREFIX + pin.name, pin.to_bytes())

    def _drop_previous(self) -> None:
        """Ends the time in which the version before stays loaded."""
        loaded = self.versions.loaded
        if loaded.previous and time.time() >= loaded.since + self.shared.settings.bake:
            self.versions.drop_previous()
            self.shared.agreement.unload(loaded.previous.pin.digest)
            self.shared.memory.update()
            trim_memory()
