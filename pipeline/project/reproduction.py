"""Runs `dvc repro` for all models, including models whose photos are recorded in DVC but not on this machine.

A clone without the DVC remote has only the digests of `dvc add`ed photos. They are enough if no stage has to
run again: `dvc repro` alone fails without the photos, `dvc repro --allow-missing` succeeds. The option is not
used for the other models, because it would also skip stages that a fresh clone has to run.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from pipeline import params
from pipeline.errors import CommandFailed, PhotosMissing
from pipeline.layout import Layout


def reproduce_all(stage: str) -> None:
    """Runs the changed stages of all models in the list, up to a stage."""
    models = params.load().models
    complete = [model for model in models if missing_photos(Layout(model)) is None]
    if complete:
        targets = [stage] if len(complete) == len(models) else [f"{stage}@{model}" for model in complete]
        dvc_repro(*targets)
    for model in models:
        if model not in complete:
            reproduce_model(stage, model)


def reproduce_model(stage: str, model: str) -> None:
    """Runs the changed stages of one model; `PhotosMissing` if one of them needs photos that are missing."""
    missing = missing_photos(Layout(model))
    if missing is None:
        return dvc_repro(f"{stage}@{model}")
    try:
        dvc_repro("--allow-missing", f"{stage}@{model}")
    except CommandFailed:
        raise PhotosMissing(model, missing) from None
    print(f"{model}: {missing} is not here; nothing has changed that would need it")
    return None


def dvc_repro(*arguments: str, folder: Path | None = None) -> None:
    """Runs `dvc repro` in a folder; its output goes to the terminal."""
    # DVC starts stages as `python`, which must be this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    done = subprocess.run(command, check=False, cwd=folder, env={**os.environ, "PATH": path})
    if done.returncode:
        raise CommandFailed(["dvc", "repro", *arguments], done.returncode)


def missing_photos(layout: Layout) -> Path | None:
    """The first file or folder of photos that a .dvc file records and that does not exist."""
    for dvc_file in [layout.raw.with_name(f"{layout.model}.dvc"), *sorted(layout.raw.rglob("*.dvc"))]:
        if dvc_file.is_file():
            for path in _recorded_paths(dvc_file):
                if not path.exists():
                    return path
    return None


def _recorded_paths(dvc_file: Path) -> list[Path]:
    """The outputs of a .dvc file; none if it is invalid, which DVC reports later."""
    try:
        return [dvc_file.parent / str(out["path"]) for out in yaml.safe_load(dvc_file.read_bytes())["outs"]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
