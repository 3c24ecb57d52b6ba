"""The workflows: what they may do, whose code they run, and that their commands are those of everybody."""

import json
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
    "npm ci",
    "node .github/cml/source/bin/cml.js comment update ",
    '{ cat comment.md; printf "\\n\\n%s" "$MARK"; } | gh pr comment ',
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
    assert [path.stem for path in WORKFLOWS] == ["ci", "docker", "pipeline", "rebuild"]


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
    gate = (ROOT / ".ci/run").read_text().splitlines()
    assert [line for line in gate if line.startswith("make ")] == ["make lint", "make test"]
    jobs = {
        name: [step["run"].removeprefix("sudo ") for step in job["steps"] if "run" in step]
        for name, job in read(FOLDER / "ci.yml")["jobs"].items()
    }
    assert jobs == {
        "test": ["bash .ci/tools", "make lint", "make test"],
        # What takes too long for everybody's gate.
        "test-all": ["bash .ci/tools", "make test-all"],
    }
    assert "bash .ci/tools" in gate


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


def pushed(job: dict[str, Any]) -> bool:
    """Does a job run for pushes alone, so not for pull requests?"""
    return str(job.get("if", "")).startswith("github.event_name == 'push'")


SECRET = re.compile(r"secrets\.(\w+)")


def test_code_of_pull_requests_runs_with_no_secret_that_can_write() -> None:
    """Neither with one of the workflow as a whole. GITHUB_TOKEN can what the job is granted."""
    given: dict[bool, set[str]] = {True: set(), False: set()}
    for path in WORKFLOWS:
        document = read(path)
        jobs = document.pop("jobs")
        given[False] |= set(SECRET.findall(yaml.safe_dump(document)))
        for job in jobs.values():
            given[pushed(job)] |= set(SECRET.findall(yaml.safe_dump(job)))
    assert {name for name in given[False] if not name.startswith("READ_")} == {"GITHUB_TOKEN"}
    assert {name for name in given[True] if name.startswith("MLFLOW")} == {
        f"MLFLOW_TRACKING_{name}" for name in ("URI", "USERNAME", "PASSWORD")
    }


def test_what_may_write_is_kept_in_an_environment_of_its_own() -> None:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            writing = {found for found in SECRET.findall(yaml.safe_dump(job)) if found.startswith("MLFLOW")}
            assert not writing or job["environment"] == "registry", name


def test_the_job_that_may_comment_runs_no_code_of_the_pull_request() -> None:
    job = read(FOLDER / "pipeline.yml")["jobs"]["comment"]
    assert not [step["run"] for step in job["steps"] if "make" in step.get("run", "")]


def test_every_secret_and_variable_is_explained() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    used = set(re.findall(r"(?:secrets|vars)\.(\w+)", text)) - {"GITHUB_TOKEN"}
    manual = (ROOT / "docs/ci.md").read_text()
    assert set(re.findall(r"`([A-Z][A-Z_]+)`", manual.partition("## Secrets and variables")[2])) == used


CML = ROOT / ".github/cml"


def test_what_cml_needs_is_locked_by_hash_and_without_addresses() -> None:
    lock = json.loads((CML / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert len(packages) > 200
    assert [
        name for name, package in packages.items() if not package["integrity"].startswith("sha512-")
    ] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert (
        lock["packages"][""]["dependencies"] == json.loads((CML / "package.json").read_text())["dependencies"]
    )


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_npm_takes_the_lock(tmp_path: Path) -> None:
    """Whether it fits package.json; nothing is downloaded."""
    shutil.copytree(CML, tmp_path / "cml", ignore=shutil.ignore_patterns("node_modules", "source"))
    command = ["npm", "ci", "--dry-run", "--offline"]
    done = subprocess.run(command, cwd=tmp_path / "cml", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
