"""What is planned: nothing becomes active that this worker has not loaded, however long that takes."""

import os
import time
from pathlib import Path

from serving.api.service import Service
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.config import Settings
from serving.server.drain import Drain
from serving.updates.plan import Version
from serving.updates.planner import PATIENCE_SECONDS
from serving.workers.workers import single_worker
from tests.serving.bundles import write_bundle


def test_a_pull_may_take_as_long_as_it_takes(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))
    first, second = Pin("colours", 3, bundle.digest), Pin("colours", 4, "e" * 64)
    settings = Settings(model="colours", pins=tmp_path)
    workers = single_worker()
    # Another worker runs and says nothing.
    workers.table.enter(1, os.getpid())
    service = Service.start(settings, [Release(bundle, first, None, None)], 1, Drain(), workers=workers)
    (updates,) = service.updates
    board, planner, pin = service.shared.board, updates.planner, tmp_path / "colours.json"
    pin.write_bytes(second.to_bytes())
    planner.look()
    assert (plan := board.read_plan("colours")) is not None
    assert (plan.active, plan.loading) == (Version.of(first), Version.of(second))
    for loaded_before, active in ((None, first), (0.0, first), (PATIENCE_SECONDS + 1, second)):
        if loaded_before is not None:
            board.say_loaded({second.digest})
            moment = time.time() - loaded_before
            os.utime(board.folder / f"loaded-{second.digest}.0", (moment, moment))
        planner.look()
        assert (found := board.read_plan("colours")) is not None
        assert found.active == Version.of(active)
