"""pipeline.yml, run here: what a pull request changes is run and reported, what is on main is registered."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serving.pin import Pin
from tests.pipeline.projects import ROOT, Project
from tests.serving.registries import connect, mlflow_server
from tests.workflows.expressions import holds
from tests.workflows.runner import Event, Runner

MAIN = Event("push", "refs/heads/main")
PULL, FORK = (Event("pull_request", "refs/pull/1/merge", fork=fork) for fork in (False, True))

# CML itself wants its registry and GitHub. What is tested is what it is told.
CML = """\
#!/bin/sh
printf '%s\\n' "$REPO_TOKEN" "$PUBLISH" "$NODE_OPTIONS" "$@" > "$RUNNER_TEMP/told"
for report; do :; done
cp "$report" "$RUNNER_TEMP/report"
"""


@pytest.fixture
def cml(tmp_path: Path) -> Path:
    """A package that has a command `cml`, which notes what it is told."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text(
        json.dumps({"name": "cml", "version": "0.0.0", "bin": {"cml": "cml"}})
    )
    (package / "cml").write_text(CML)
    (package / "cml").chmod(0o755)
    return package


@pytest.fixture
def runner(built: Project, cml: Path, tmp_path: Path) -> Runner:
    """A machine of GitHub's for the built project; main has run before, so DVC's cache is kept."""
    source = built.clone(tmp_path / "source")
    machine = Runner(source, tmp_path / "runner", instead={"CML": str(cml)})
    shutil.copytree(built.root / ".dvc/cache", tmp_path / "runner/cache/dvc-of-main")
    return machine


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[str]:
    """An MLflow server with nothing in it."""
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow") as server:
        yield server


def test_what_a_pull_request_changes_is_run_and_reported(runner: Runner, cml: Path) -> None:
    """A parameter was changed in the browser: nobody has run anything."""
    runner.source.succeed("git", "switch", "-q", "-c", "change")
    params = runner.source.root / "params.yaml"
    params.write_text(params.read_text().replace("dropout: 0.1", "dropout: 0.2"))
    runner.source.commit("more dropout")
    ended = runner.run("pipeline.yml", PULL)
    assert runner.step("Is dvc.lock what code, params and data say?").code != 0
    # The check is red, and the report is there all the same.
    assert ended == {"evaluate": "failure", "comment": "success"}, runner.done
    ran = runner.step("Run what has changed").printed
    assert "Running stage 'build@tiny'" in ran
    assert "Stage 'prepare@tiny' didn't change" in ran
    for words in (
        "**tiny: passed",
        "The committed `dvc.lock` is out of date",
        "`build@tiny: params.yaml.tiny.build.dropout`",
        "| `tiny.build.dropout` | `0.1` | `0.2` |",
        "Compared with `origin/main` at",
    ):
        assert words in runner.summary
    assert "](report/" not in runner.summary
    told = (runner.folder / "comment-temporary/told").read_text().split("\n")
    assert told[:3] == ["a-token", "false", ""]
    assert told[3:-1] == [
        *("comment", "update", "--target=pr", "--watermark-title=goldfish", "--publish=false", "comment.md"),
    ]
    assert (runner.folder / "comment-temporary/report").read_text() == runner.summary
    kept = runner.folder / "artifacts/report"
    assert "](report/tiny-" in (kept / "report.md").read_text()
    assert list((kept / "report").glob("tiny-*.png"))


def test_pictures_are_published_where_that_is_wanted(runner: Runner) -> None:
    runner.variables = {"PUBLISH_PICTURES": "true"}
    assert runner.run("pipeline.yml", PULL) == {"evaluate": "success", "comment": "success"}, runner.done
    told = (runner.folder / "comment-temporary/told").read_text().split("\n")
    assert told[1:3] == ["true", "--no-experimental-fetch"]
    assert told[-3:-1] == ["--publish=true", "report.md"]


def test_main_is_registered_and_fills_the_cache(runner: Runner, tracking: str) -> None:
    runner.secrets = {"MLFLOW_TRACKING_URI": tracking}
    assert runner.run("pipeline.yml", MAIN) == {"evaluate": "success", "comment": "skipped"}, runner.done
    # All that was built before is in the cache.
    assert "Running stage" not in runner.step("Run what has changed").printed
    pin = Pin.read(runner.source.root / "pins/tiny.json")
    assert connect(tracking).get("tiny", pin.digest).number == 1
    (saved,) = [given for action, given in runner.given if action == "actions/cache/save"]
    assert (runner.folder / "cache" / saved["key"] / "files/md5").is_dir()
    assert "**tiny: passed" in runner.summary


@pytest.mark.parametrize(("event", "commented"), [(PULL, True), (FORK, False), (MAIN, False)])
def test_whose_pull_requests_get_a_comment(event: Event, commented: bool) -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/pipeline.yml").read_text())["jobs"]["comment"]
    for succeeded in (True, False):
        assert holds(job["if"], {"github": event.github}, ROOT, succeeded) is commented
