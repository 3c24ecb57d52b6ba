"""The workflows: what they may do, whose code they run, and that their commands are those of everybody."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.imports import ROOT
from tests.repo.test_readme_is_true import phony

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
# What is no verb of make: each is one command that a test of its workflow executes.
SHORT = (
    "sudo bash .ci/tools",
    'docker save "goldfish-$MODEL" | gzip -1 > image.tar.gz',
    "docker load --input image.tar.gz",
    'cat comment.md >> "$GITHUB_STEP_SUMMARY"',
    'echo "::warning title=A stand-in::',
    'npm install --no-audit --no-fund --ignore-scripts --prefix "$RUNNER_TEMP" "$CML"',
    '"$RUNNER_TEMP/node_modules/.bin/cml" comment update ',
)
GRANT = "    permissions:\n      contents: read # to check out\n"
ACTION = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def runs(path: Path) -> list[str]:
    """The commands of a workflow, in their order."""
    return [step["run"] for job in read(path)["jobs"].values() for step in job["steps"] if "run" in step]


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `make lint` as far as it is about GitHub's files."""
    makefile = (ROOT / "Makefile").read_text()
    commands = [line.strip().lstrip("@") for line in makefile.splitlines() if ".github" in line]
    return subprocess.run(
        ["bash", "-ec", "\n".join(commands)],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_are_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "docker", "pipeline"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_permissions_are_given_job_by_job(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]
    for name, job in workflow["jobs"].items():
        assert job["permissions"], name
        assert 0 < job["timeout-minutes"] <= 60, name
        assert job["runs-on"] == "ubuntu-24.04", name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_by_commit(path: Path) -> None:
    uses = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert uses
    assert [line for line in uses if not ACTION.search(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_are_those_of_hand_and_hook(path: Path) -> None:
    for command in runs(path):
        verb = re.match(r"make (?:--silent )?([a-z]+)", command)
        assert (verb and verb[1] in phony()) or command.startswith(SHORT), command
        # What somebody wrote into a branch's name or a title would be executed.
        assert "${{" not in command


def test_the_gate_and_ci_run_the_same() -> None:
    gate = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("make ")]
    tools, *verbs = runs(FOLDER / "ci.yml")
    assert verbs == gate == ["make lint", "make test"]
    assert tools.removeprefix("sudo ") in (ROOT / ".ci/run").read_text().splitlines()


def test_only_the_job_that_publishes_may_write_packages() -> None:
    granted = {
        (path.stem, name): {key for key, value in job["permissions"].items() if value == "write"}
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    }
    assert {job: rights for job, rights in granted.items() if rights} == {
        ("docker", "publish"): {"packages", "id-token", "attestations"},
        ("pipeline", "comment"): {"pull-requests"},
    }


def test_zizmor_and_the_schemas_find_nothing() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("workflows/ci.yml", GRANT, "    permissions: write-all\n", "excessive-permissions"),
        ("workflows/ci.yml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("workflows/ci.yml", "run: make lint", "run: echo ${{ github.head_ref }}", "template-injection"),
        ("workflows/ci.yml", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        ("workflows/ci.yml", "runs-on:", "run-on:", "run-on"),
        ("dependabot.yml", "interval: weekly", "interval: sometimes", "sometimes"),
    ],
)
def test_what_is_wrong_would_be_found(tmp_path: Path, file: str, old: str, new: str, found: str) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    broken = tmp_path / ".github" / file
    assert old in broken.read_text()
    broken.write_text(broken.read_text().replace(old, new))
    done = lint(tmp_path)
    assert done.returncode != 0
    assert found in done.stdout + done.stderr
