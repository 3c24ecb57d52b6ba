"""What keeps the versions of one model up to date."""

from typing import NamedTuple, Self

from serving.api.model_versions import ModelVersions
from serving.updates.active_follower import ActiveFollower
from serving.updates.candidate_follower import CandidateFollower
from serving.updates.shared import Shared
from serving.updates.targets import find_candidate, find_target
from serving.updates.trials import Trials


class ModelUpdates(NamedTuple):
    """The followers of the active version and, if there is an alias for candidates, of the candidate."""

    versions: ModelVersions
    active: ActiveFollower
    candidate: CandidateFollower | None

    @classmethod
    def of(cls, versions: ModelVersions, shared: Shared) -> Self:
        """Those of a model."""
        settings = shared.settings
        trials = Trials(versions, settings, shared.folder, shared.reloads)
        active = ActiveFollower(versions, find_target(settings, versions.name), trials, shared)
        target = find_candidate(settings, versions.name)
        candidate = CandidateFollower(versions, target, trials, shared) if target else None
        return cls(versions, active, candidate)

    def look(self, at_once: bool) -> None:
        """Follows both targets; `at_once`: also what has failed just now."""
        self.active.look(at_once)
        if self.candidate:
            self.candidate.look(at_once)
