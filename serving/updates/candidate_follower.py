"""Puts the version that an alias names, such as `challenger`, on trial beside the active one.

Its trial makes nothing active: people do, by a pin or another alias, when they have seen it. Then it is
loaded already. A candidate that is worse is refused.
"""

from serving.artifact.pin import Pin
from serving.trial.decision import State
from serving.updates.errors import TrialLost
from serving.updates.follower import Follower
from serving.workers.agreement import Refusal


class CandidateFollower(Follower):
    """Keeps the version of the target on trial."""

    def follow(self, target: Pin) -> Refusal | None:
        refusal, candidate = self.shared.agreement.refusal(target.digest), self.trials.candidate
        if refusal or target.digest == self.versions.active.pin.digest:
            self._end()
            return refusal
        if candidate is None or candidate.pin != target or not self.trials.is_current:
            return self._begin(target)
        decision = self.trials.judge()
        if decision.state is State.WORSE:
            self._end()
            return self.refuse(target, TrialLost(decision.reason))
        return None

    def _begin(self, target: Pin) -> Refusal | None:
        model = self.load(target)
        if isinstance(model, Refusal):
            self._end()
            return model
        if not self.is_moved(target):
            self.trials.begin(model)
            self.log("a trial begins", target)
        return None

    def _end(self) -> None:
        candidate = self.trials.candidate
        if candidate:
            self.trials.end()
            if candidate.pin.digest != self.versions.active.pin.digest:
                self.shared.agreement.unload(candidate.pin.digest)
