"""The threads that keep the versions up to date, one for each model."""

import threading
import time
from typing import NamedTuple, Self

from serving.api.model_versions import ModelVersions
from serving.log import LOG
from serving.updates.applier import Applier
from serving.updates.planner import Planner
from serving.updates.shared import Shared
from serving.updates.targets import find_candidates, find_target

# Seconds between two looks at the target, a small file, and between two looks whether another worker has
# changed the plan: so far apart workers may swap.
LOOK_SECONDS, PLAN_SECONDS = 0.25, 0.02


class ModelUpdates(NamedTuple):
    """What keeps the versions of one model up to date."""

    versions: ModelVersions
    planner: Planner
    applier: Applier
    shared: Shared

    @classmethod
    def of(cls, versions: ModelVersions, shared: Shared) -> Self:
        """That of a model."""
        settings, name = shared.settings, versions.name
        target, candidates = find_target(settings, name), find_candidates(settings, name)
        planner = Planner(versions, target, candidates, shared)
        return cls(versions, planner, Applier(versions, shared), shared)

    def look(self, at_once: bool) -> None:
        """Plans, if this worker leads, and does what is planned. `at_once`: asks registries now."""
        if self.shared.board.is_leader:
            if at_once:
                self.shared.board.forget_refusals()
            for target in (self.planner.target, self.planner.candidates):
                if target:
                    target.refresh(at_once)
            self.planner.look()
        self.applier.look()


class UpdateThread(threading.Thread):
    """Looks after one model."""

    def __init__(self, updates: ModelUpdates) -> None:
        super().__init__(name=f"update-{updates.versions.name}", daemon=True)
        self._updates, self._seen = updates, updates.shared.reloads()
        self._stop_requested = threading.Event()

    def run(self) -> None:
        """Looks until `stop` is called."""
        board, name = self._updates.shared.board, self._updates.versions.name
        next_look, plan_time, wait = 0.0, 0, PLAN_SECONDS
        while not self._stop_requested.wait(wait):
            if time.monotonic() < next_look and board.plan_time(name) == plan_time:
                continue
            next_look, plan_time = time.monotonic() + LOOK_SECONDS, board.plan_time(name)
            reloads = self._updates.shared.reloads()
            try:
                self._updates.look(at_once=reloads != self._seen)
            # A thread that ended would end all updates.
            except Exception:  # noqa: BLE001
                LOG.exception("the versions could not be brought up to date")
            self._seen = reloads
            # The plan of the only worker is changed by its own looks alone.
            is_settled = board.is_alone and board.plan_time(name) == plan_time
            wait = LOOK_SECONDS if is_settled else PLAN_SECONDS
        self._updates.applier.pulls.keep(())

    def stop(self) -> None:
        """Ends the thread once its present look is over."""
        self._stop_requested.set()
