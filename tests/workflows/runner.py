"""Runs a workflow without GitHub: the `run` steps really, in a clone and in order, for a simulated event.

Actions cannot run here. Each one that the workflows use has a local substitute (a checkout is a clone, an
artifact is a copy); of those that sign or publish only the inputs are recorded.
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.pipeline.projects import Project
from tests.workflows.expressions import Context, fill, holds

WORKFLOWS = Path(".github/workflows")
# The commit that a pull request proposes.
HEAD = "1234567890abcdef" * 2 + "12345678"


@dataclass(frozen=True)
class Event:
    """A push to a branch or a tag, or a pull request from a branch or a fork."""

    name: str
    ref: str
    fork: bool = False
    private: bool = False

    @property
    def github(self) -> Context:
        """The context `github`."""
        head = "stranger/goldfish" if self.fork else "Owner/Goldfish"
        return Context(
            event_name=self.name,
            ref=self.ref,
            ref_type="tag" if self.ref.startswith("refs/tags/") else "branch",
            repository="Owner/Goldfish",
            workflow="test",
            actor="somebody",
            event={
                "pull_request": {"number": 7, "head": {"sha": HEAD, "repo": {"full_name": head}}},
                "repository": {"private": self.private},
            },
        )


@dataclass
class StepResult:
    """A step that ran: its job, name, exit code, and output (stdout, then stderr)."""

    job: str
    name: str
    code: int
    output: str


@dataclass
class Runner:
    """A GitHub runner for all jobs of a workflow."""

    source: Project
    folder: Path
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    # Environment variables that override those of the workflow.
    overrides: Mapping[str, str] = field(default_factory=dict)
    # Folders that stand for checkouts of other repositories.
    repositories: Mapping[str, Path] = field(default_factory=dict)
    # Functions to call before a job starts, by the name of the job.
    before: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    results: list[StepResult] = field(default_factory=list)
    # Name and inputs of each action that was used.
    actions: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    # Result and outputs of each job of the last run.
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: str = ""

    def run(self, workflow: str, event: Event, keep: Collection[str] = ()) -> dict[str, str]:
        """Runs all jobs of a workflow; returns the result of each: success, failure or skipped.

        `keep` names jobs that do not run again: the others use their results of the previous run.
        """
        document = yaml.safe_load((self.source.root / WORKFLOWS / workflow).read_text())
        needs = {name: self.jobs[name] for name in keep}
        for name, job in document["jobs"].items():
            if name in keep:
                continue
            needed = [job["needs"]] if "needs" in job else []
            contexts = self._contexts(event) | {"needs": Context({key: needs[key] for key in needed})}
            good = all(needs[key]["result"] == "success" for key in needed)
            needs[name] = {"result": "skipped", "outputs": {}}
            if holds(job.get("if", "success()"), contexts, self.folder, good):
                self.before.get(name, lambda: None)()
                needs[name] = self._job(name, job, document.get("env", {}), contexts)
        self.jobs = needs
        return {name: job["result"] for name, job in needs.items()}

    def step(self, name: str) -> StepResult:
        """The result of the step with this name."""
        (result,) = [result for result in self.results if result.name == name]
        return result

    def _contexts(self, event: Event) -> dict[str, Any]:
        return {
            "github": event.github,
            "secrets": Context({**self.secrets, "GITHUB_TOKEN": "a-token"}),
            "vars": Context(self.variables),
            "matrix": Context(),
        }

    def _job(
        self, name: str, job: dict[str, Any], common: dict[str, str], contexts: dict[str, Any]
    ) -> dict[str, Any]:
        workspace, steps, good = self.folder / name, Context(), True
        for number, step in enumerate(job["steps"]):
            known = {key: fill(value, contexts, workspace) for key, value in common.items()}
            seen = contexts | {"steps": steps, "env": Context({**known, **self.overrides})}
            if not holds(step.get("if", "success()"), seen, workspace, good):
                continue
            if "uses" in step:
                self._use(step, seen, workspace)
                continue
            environment = common | job.get("env", {}) | step.get("env", {})
            filled = {key: fill(value, seen, workspace) for key, value in environment.items()}
            outputs = self.folder / f"{name}-{number}"
            done = self._execute(name, step, workspace, filled, outputs, seen["github"])
            good = good and done.code == 0
            steps[step.get("id", str(number))] = {"outputs": _pairs(outputs)}
        seen = contexts | {"steps": steps}
        told = {key: fill(value, seen, workspace) for key, value in job.get("outputs", {}).items()}
        return {"result": "success" if good else "failure", "outputs": told}

    def _execute(
        self,
        job: str,
        step: dict[str, Any],
        workspace: Path,
        environment: dict[str, str],
        outputs: Path,
        github: Context,
    ) -> StepResult:
        summary, temporary = self.folder / "summary", self.folder / f"{job}-temporary"
        temporary.mkdir(exist_ok=True)
        for file in (outputs, summary):
            file.touch()
        variables = {
            "CI": "true",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_REPOSITORY": github.repository,
            "RUNNER_TEMP": str(temporary),
            # `make test` passes these to its children, whose output they change.
            "MAKEFLAGS": "",
            "MAKELEVEL": "0",
        }
        folder = workspace / step.get("working-directory", ".")
        project = Project(folder, {**self.source.environment, **environment, **variables, **self.overrides})
        ran = project.run("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"])
        self.summary = summary.read_text()
        self.results.append(
            StepResult(job, step.get("name", step["run"]), ran.returncode, ran.stdout + ran.stderr)
        )
        return self.results[-1]

    def _use(self, step: dict[str, Any], contexts: dict[str, Any], workspace: Path) -> None:
        """Executes the substitute of an action, or only records its inputs."""
        action = step["uses"].partition("@")[0]
        inputs = {key: fill(str(value), contexts, workspace) for key, value in step.get("with", {}).items()}
        self.actions.append((action, inputs))
        if action in SUBSTITUTES:
            SUBSTITUTES[action](self, inputs, workspace)
        elif action not in RECORDED:
            raise KeyError(f"{action} has no substitute")

    def _checkout(self, inputs: dict[str, str], workspace: Path) -> None:
        if "repository" in inputs:
            shutil.copytree(self.repositories[inputs["repository"]], workspace / inputs["path"])
        else:
            self.source.clone(workspace)

    def _python(self, _: dict[str, str], workspace: Path) -> None:
        """Marks the environments as installed: the interpreter that runs the tests has all packages."""
        (workspace / ".venv").mkdir()
        for mark in (".created", ".serving", ".pipeline", ".dev"):
            (workspace / ".venv" / mark).touch()

    def _upload(self, inputs: dict[str, str], workspace: Path) -> None:
        # Files of recorded actions do not exist.
        for path in (path for path in inputs["path"].split() if (workspace / path).exists()):
            _copy(workspace / path, self.folder / "artifacts" / inputs["name"] / path)

    def _download(self, inputs: dict[str, str], workspace: Path) -> None:
        shutil.copytree(self.folder / "artifacts" / inputs["name"], workspace, dirs_exist_ok=True)

    def _save(self, inputs: dict[str, str], workspace: Path) -> None:
        _copy(workspace / inputs["path"], self.folder / "cache" / inputs["key"])

    def _restore(self, inputs: dict[str, str], workspace: Path) -> None:
        """Restores the newest entry that starts with one of the keys; earlier keys take precedence."""
        keys = [inputs["key"], *inputs.get("restore-keys", "").split()]
        entries = sorted((self.folder / "cache").glob("*"), key=lambda entry: -entry.stat().st_mtime)
        for entry in [entry for key in keys for entry in entries if entry.name.startswith(key)][:1]:
            _copy(entry, workspace / inputs["path"])


SUBSTITUTES: dict[str, Callable[[Runner, dict[str, str], Path], None]] = {
    "actions/checkout": Runner._checkout,
    "actions/setup-python": Runner._python,
    "actions/setup-node": lambda *_: None,
    "actions/upload-artifact": Runner._upload,
    "actions/download-artifact": Runner._download,
    "actions/cache/restore": Runner._restore,
    "actions/cache/save": Runner._save,
}
RECORDED = ("docker/login-action", "anchore/sbom-action", "actions/attest")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _pairs(file: Path) -> dict[str, str]:
    """The outputs in a step's GITHUB_OUTPUT; GitHub allows no lines of another form."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())
