"""Runs rebuild.yml: a runner without secrets builds the pinned bundle again and compares it."""

from pathlib import Path

import pytest
import yaml

from serving.artifact.pin import Pin
from tests.pipeline.projects import ROOT, Project
from tests.workflows.expressions import Context, holds
from tests.workflows.runner import Event, Runner

MAIN = Event("push", "refs/heads/main")


# Slow: it builds the model again, 40 s.
@pytest.mark.slow
def test_main_builds_the_pinned_bytes_again(built: Project, tmp_path: Path) -> None:
    runner = Runner(built.clone(tmp_path / "source"), tmp_path / "runner", variables={"MODEL": "tiny"})
    assert runner.run("rebuild.yml", MAIN) == {"rebuild": "success"}, runner.results
    digest = Pin.read(built.root / "pins/tiny.json").digest
    assert f"equal: tiny {digest[:12]}, built again" in runner.step("Build it again and compare").output


def test_it_can_be_turned_off() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/rebuild.yml").read_text())["jobs"]["rebuild"]
    for value, runs in (("no", False), ("", True)):
        assert holds(job["if"], {"vars": Context(REBUILD=value)}, ROOT, True) is runs
