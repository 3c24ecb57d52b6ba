"""Runs pipeline.yml: it runs and reports what a pull request changes, and registers what is on main."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serving.artifact.pin import Pin
from tests.pipeline.projects import ROOT, Project
from tests.serving.registries import connect, mlflow_server
from tests.workflows.expressions import holds
from tests.workflows.runner import HEAD, Event, Runner

MAIN = Event("push", "refs/heads/main")
PULL, FORK = (Event("pull_request", "refs/pull/1/merge", fork=fork) for fork in (False, True))

# Substitutes for CML, gh and npm, which need GitHub or the network. They record their arguments and what
# would be posted; the appended mark is that of CML 0.20.6.
CML = f"""\
const fs = require("fs");
const env = process.env;
const args = [env.REPO_TOKEN, env.PUBLISH, env.NODE_OPTIONS, ...process.argv.slice(2)];
const report = fs.readFileSync(args[args.length - 1], "utf-8");
const mark = `![](https://cml.dev/watermark.png#{HEAD} "CML watermark goldfish")`;
fs.writeFileSync(env.RUNNER_TEMP + "/arguments", args.join("\\n") + "\\n");
fs.writeFileSync(env.RUNNER_TEMP + "/sent", report + "\\n\\n" + mark);
"""
GH = """\
#!/bin/sh
printf '%s\\n' "$GH_TOKEN" "$@" > "$RUNNER_TEMP/arguments"
cat > "$RUNNER_TEMP/sent"
"""
NPM = """\
#!/bin/sh
printf '%s\\n' "$@" "$(basename "$PWD")" > "$RUNNER_TEMP/installed"
test -f package-lock.json
"""


def command(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def runner(built: Project, tmp_path: Path) -> Runner:
    """A GitHub runner for the built project; an earlier run on main has saved DVC's cache."""
    source = built.clone(tmp_path / "source")
    command(tmp_path / "cml/bin/cml.js", CML)
    for name, text in (("gh", GH), ("npm", NPM)):
        command(tmp_path / "bin" / name, text)
    machine = Runner(
        source,
        tmp_path / "runner",
        overrides={"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        repositories={"iterative/cml": tmp_path / "cml"},
    )
    shutil.copytree(built.root / ".dvc/cache", tmp_path / "runner/cache/dvc-of-main")
    return machine


def posted(runner: Runner) -> bytes:
    """The comment that was posted."""
    return (runner.folder / "comment-temporary/sent").read_bytes()


def arguments(runner: Runner) -> list[str]:
    """The token and the arguments of the program that posts."""
    return (runner.folder / "comment-temporary/arguments").read_text().splitlines()


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[str]:
    """An empty MLflow server."""
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow") as server:
        yield server


def test_what_a_pull_request_changes_is_run_and_reported(runner: Runner) -> None:
    """A parameter was changed on GitHub's page, so no stage has run."""
    runner.source.succeed("git", "switch", "-q", "-c", "change")
    params = runner.source.root / "params.yaml"
    params.write_text(params.read_text().replace("dropout: 0.1", "dropout: 0.2"))
    runner.source.commit("more dropout")
    ended = runner.run("pipeline.yml", PULL)
    assert runner.step("Is dvc.lock what code, params and data say?").code != 0
    # The check fails, and the report is posted nevertheless.
    assert ended == {"evaluate": "failure", "register": "skipped", "comment": "success"}, runner.results
    output = runner.step("Run what has changed").output
    assert "Running stage 'build@tiny'" in output
    assert "Stage 'prepare@tiny' didn't change" in output
    for words in (
        "**tiny: passed",
        "The committed `dvc.lock` is out of date",
        "`build@tiny: params.yaml.tiny.build.dropout`",
        "| `tiny.build.dropout` | `0.1` | `0.2` |",
        "Compared with `origin/main` at",
    ):
        assert words in runner.summary
    assert "](report/" not in runner.summary
    assert arguments(runner) == [
        *("a-token", "false", ""),
        *("comment", "update", "--target=pr", "--watermark-title=goldfish", "--publish=false", "comment.md"),
    ]
    assert posted(runner).decode().startswith(runner.summary)
    assert (runner.folder / "comment-temporary/installed").read_text() == "ci\ncml\n"
    kept = runner.folder / "artifacts/report"
    assert "](report/tiny-" in (kept / "report.md").read_text()
    assert list((kept / "report").glob("tiny-*.png"))


def comment_again(runner: Runner, **variables: str) -> None:
    """Runs only the job `comment`, with other variables of the repository."""
    shutil.rmtree(runner.folder / "comment")
    shutil.rmtree(runner.folder / "comment-temporary")
    runner.variables = variables
    assert runner.run("pipeline.yml", PULL, keep=("evaluate",))["comment"] == "success", runner.results


def test_cml_publishes_pictures_on_request_and_gh_sends_the_same_bytes_as_cml(runner: Runner) -> None:
    evaluated = {"evaluate": "success", "register": "skipped", "comment": "success"}
    assert runner.run("pipeline.yml", PULL) == evaluated, runner.results
    by_cml = posted(runner)

    comment_again(runner, PUBLISH_PICTURES="true")
    assert arguments(runner)[1:3] == ["true", "--no-experimental-fetch"]
    assert arguments(runner)[-2:] == ["--publish=true", "report.md"]

    runner.repositories = {}
    comment_again(runner, PUBLISH_PICTURES="true", COMMENT_WITH="gh")
    assert posted(runner) == by_cml
    assert arguments(runner) == [
        *("a-token", "pr", "comment", "7", "--repo", "Owner/Goldfish"),
        *("--edit-last", "--create-if-none", "--body-file", "-"),
    ]
    # Without CML, npm is not called.
    assert not (runner.folder / "comment-temporary/installed").exists()


def test_main_is_registered_and_fills_the_cache(runner: Runner, tracking: str) -> None:
    runner.secrets = {"MLFLOW_TRACKING_URI": tracking}
    ended = runner.run("pipeline.yml", MAIN)
    assert ended == {"evaluate": "success", "register": "success", "comment": "skipped"}, runner.results
    # All outputs are in the restored cache.
    assert "Running stage" not in runner.step("Run what has changed").output
    assert "Running stage 'e" not in runner.step("Register").output
    pin = Pin.read(runner.source.root / "pins/tiny.json")
    assert connect(tracking).get_by_digest("tiny", pin.digest).number == 1
    (saved,) = [inputs for action, inputs in runner.actions if action == "actions/cache/save"]
    assert (runner.folder / "cache" / saved["key"] / "files/md5").is_dir()
    assert "**tiny: passed" in runner.summary


@pytest.mark.parametrize(("event", "commented"), [(PULL, True), (FORK, False), (MAIN, False)])
def test_whose_pull_requests_get_a_comment(event: Event, commented: bool) -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/pipeline.yml").read_text())["jobs"]["comment"]
    for succeeded in (True, False):
        assert holds(job["if"], {"github": event.github}, ROOT, succeeded) is commented
