"""`remove <model>`: removes everything that belongs to a model, after listing it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline import params
from pipeline.errors import ModelUnknown
from pipeline.files import write
from pipeline.layout import FOREIGN_FOLDER, RAW_FOLDER, Layout
from pipeline.model_names import is_model_name
from pipeline.project import yaml_edits
from pipeline.registry.mlflow_registry import Registry

LOCK = Path("dvc.lock")


def plan_removal(layout: Layout, registry: Registry) -> list[str]:
    """What would be removed, one line each; `ModelUnknown` if there is nothing."""
    has_section = layout.model in params.load().sections
    if not is_model_name(layout.model):
        raise ModelUnknown(layout.model, params.load().sections, layout.raw)
    versions = len(registry.list_versions(layout.model))
    lines = [
        *(["params.yaml: its section, and its entry in `models`"] if has_section else []),
        *(f"{path}{_unversioned_warning(path)}" for path in _model_paths(layout)),
        *(["dvc.lock: its stages"] if _has_locked_stages(layout) else []),
        *([f"{registry.display_uri}: the registered model with {versions} versions"] if versions else []),
    ]
    if not lines:
        raise ModelUnknown(layout.model, params.load().sections, layout.raw)
    return lines


def remove_model(layout: Layout, registry: Registry) -> list[str]:
    """Removes all that `plan_removal` lists; returns what is kept and where.

    The registry comes first, because it may refuse.
    """
    registry.delete_model(layout.model)
    if layout.model in params.load().sections:
        text = params.PARAMS_FILE.read_text(encoding="utf-8")
        write(params.PARAMS_FILE, yaml_edits.remove_section(text, layout.model).encode())
    if _has_locked_stages(layout):
        write(LOCK, yaml_edits.remove_stages(LOCK.read_text(encoding="utf-8"), layout.model).encode())
    for path in _model_paths(layout):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    replace_gitignore_entry(layout)
    return [
        "git's history keeps its params, reports and pins",
        "DVC's cache keeps its data and bundles until `dvc gc --workspace`",
        "MLflow keeps runs and files as deleted ones until `mlflow gc`",
    ]


def replace_gitignore_entry(layout: Layout, replacement: str | None = None) -> None:
    """Removes or replaces the line that `dvc add` wrote into .gitignore for the model's photos."""
    path, entry = layout.raw.with_name(".gitignore"), f"/{layout.raw.name}"
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [replacement if line == entry else line for line in lines if line != entry or replacement]
        path.unlink() if not kept else write(path, "".join(f"{line}\n" for line in kept).encode())


def _model_paths(layout: Layout) -> Iterator[Path]:
    dvc_file = layout.raw.with_name(f"{layout.model}.dvc")
    inputs = (layout.raw, dvc_file, layout.foreign, layout.foreign.with_name(f"{layout.model}.dvc"))
    for path in (
        *inputs,
        layout.prepared,
        layout.bundle.parent,
        layout.reports,
        layout.pin,
        layout.signature,
    ):
        if path.exists() or path.is_symlink():
            yield path


def _has_locked_stages(layout: Layout) -> bool:
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    return yaml_edits.remove_stages(text, layout.model) != text


def _unversioned_warning(path: Path) -> str:
    """A warning for photos that are neither in git nor in DVC."""
    inputs = (RAW_FOLDER, FOREIGN_FOLDER)
    if path.parent not in inputs or not path.is_dir() or path.with_name(f"{path.name}.dvc").exists():
        return ""
    untracked = subprocess.run(
        ["git", "ls-files", "--others", "--", str(path)], capture_output=True, text=True, check=False
    )
    files = len(untracked.stdout.splitlines())
    return f" ({files} files that neither git nor DVC keeps: there is no way back)" if files else ""
