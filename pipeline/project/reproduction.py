"""`dvc repro` for all models, also for those whose photos are known to DVC but are not on this machine.

A fork of a project with `dvc add`ed photos and without its remote has only their digests. As long as nothing
has changed they are not needed. DVC by itself fails; with `--allow-missing` for all models it would skip what
a fresh clone has to build.
"""

import subprocess
import sys
from pathlib import Path

import yaml

from pipeline import params
from pipeline.errors import CommandFailed, PhotosMissing
from pipeline.layout import Layout


def reproduce(stage: str) -> None:
    """Runs what has changed of all models in the list, up to a stage."""
    models = params.load().models
    present = [model for model in models if absent_photos(Layout(model)) is None]
    if present:
        repro(*([stage] if len(present) == len(models) else [f"{stage}@{model}" for model in present]))
    for model in models:
        if model not in present:
            reproduce_one(stage, model)


def reproduce_one(stage: str, model: str) -> None:
    """Runs what has changed of one model; `PhotosMissing` if that needs photos that are not here."""
    missing = absent_photos(Layout(model))
    if missing is None:
        return repro(f"{stage}@{model}")
    try:
        repro("--allow-missing", f"{stage}@{model}")
    except CommandFailed:
        raise PhotosMissing(model, missing) from None
    print(f"{model}: {missing} is not here; nothing has changed that would need it")
    return None


def repro(*arguments: str) -> None:
    """Runs `dvc repro`, which prints as it goes."""
    if code := subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], check=False).returncode:
        raise CommandFailed(["dvc", "repro", *arguments], code)


def absent_photos(layout: Layout) -> Path | None:
    """The first file or folder that `dvc add` has recorded and that is not here."""
    for record in [layout.raw.with_name(f"{layout.model}.dvc"), *sorted(layout.raw.rglob("*.dvc"))]:
        if record.is_file():
            for path in _recorded(record):
                if not path.exists():
                    return path
    return None


def _recorded(record: Path) -> list[Path]:
    """What a .dvc file is about; one that cannot be read is for DVC to complain of."""
    try:
        return [record.parent / str(out["path"]) for out in yaml.safe_load(record.read_bytes())["outs"]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
