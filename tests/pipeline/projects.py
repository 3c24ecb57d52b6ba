"""Git clones of this project with a model that is built in seconds, for tests that run whole commands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipeline.sample_images import write_class_folders

ROOT = Path(__file__).parents[2]
# Seconds for one command; all stages together take 30 on a machine that does nothing else.
TIMEOUT = 1800

# Few images, one epoch, no thresholds: tests show that the parts fit, not that the model is good.
TINY = """\
models: [tiny]

tiny:
  prepare: {split: auto, stratify: false, valid: 0.1, test: 0.3, min_per_class: 5, convert: []}
  build:
    method: scratch
    size: 32
    crop: 1.0
    alpha: 0.35
    momentum: 0.9
    seed: 1
    batch: 16
    dropout: 0.1
    class_weights: none
    augment: {shift: 0.1, flip: true}
    training: {epochs: 1, learning_rate: 0.001}
  export: {golden: 2, precision: int8, calibration: 16}
  evaluate:
    min_top1: 0.0
    min_top5: 0.0
    min_recall: 0.0
    min_over_majority: 0.0
    min_agreement: 0.99
    max_quantisation_loss: 1.0
    max_latency_ms: 10000
    significance: 0.05
  register: {description: A model for tests.}
"""

# Commits need an author, also on machines without a git configuration.
AUTHOR = {
    f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}

# Environment of a project that commits and has its registry in mlflow.db.
EMBEDDED_REGISTRY = {**AUTHOR, "MLFLOW_TRACKING_URI": ""}


@dataclass(frozen=True)
class Project:
    """A git repository, and commands that are run in it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    timeout: float = TIMEOUT

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command; the caller checks output and exit code."""
        environment = {**os.environ, **self.environment, **variables}
        # DVC starts stages as `python`, which must be the interpreter that runs the tests.
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )

    def succeed(self, *command: str, **variables: str) -> str:
        """Runs a command that must succeed; returns its output."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def pipeline(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "pipeline", *arguments, **variables)

    def repro(self, *arguments: str) -> list[str]:
        """Runs `dvc repro`; returns the stages that ran."""
        printed = self.succeed("dvc", "repro", *arguments)
        return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]

    def commit(self, message: str = "work") -> None:
        self.succeed("git", "add", "-A")
        self.succeed("git", "commit", "-q", "--allow-empty", "-m", message)

    def changes(self) -> str:
        """The changed and untracked files, one per line, as git lists them."""
        return self.succeed("git", "status", "--porcelain")

    def clone(self, target: Path) -> "Project":
        """A clone of the commits, without data, models or registry."""
        self.succeed("git", "clone", "-q", str(self.root), str(target))
        return Project(target, self.environment)


def copy_of_the_working_tree(target: Path, variables: Mapping[str, str] = {}) -> Project:
    """A new repository with one commit of the files that git tracks or would track here."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    project = Project(target, {**AUTHOR, **variables})
    project.succeed("git", "init", "-q", "-b", "main")
    project.commit("as it is")
    return project


def tiny_project(target: Path) -> Project:
    """A project whose only model is built in seconds, from pictures that are in its repository."""
    project = copy_of_the_working_tree(target, {"MLFLOW_TRACKING_URI": ""})
    (target / "params.yaml").write_text(TINY)
    for name in ("dvc.lock", "pins/digits.json"):
        (target / name).unlink(missing_ok=True)
    shutil.rmtree(target / "reports", ignore_errors=True)
    write_class_folders(target / "data/raw/tiny", images=12)
    # Photos are not for git; here they are, so that a clone has them.
    project.succeed("git", "add", "-f", "data/raw/tiny")
    project.commit("a model that is built in seconds")
    return project
