"""`remove <model>`: everything that belongs to a model, after it was listed and agreed to."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline import params
from pipeline.errors import ModelUnknown
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.model_names import is_model_name
from pipeline.project import text_edits
from pipeline.registry.mlflow_registry import Registry

LOCK = Path("dvc.lock")


def plan(layout: Layout, registry: Registry) -> list[str]:
    """What would be removed, a line each; `ModelUnknown` if there is nothing."""
    described = layout.model in params.load().sections
    if not is_model_name(layout.model):
        raise ModelUnknown(layout.model, params.load().sections, layout.raw)
    versions = len(registry.versions(layout.model))
    lines = [
        *(["params.yaml: its section, and its entry in `models`"] if described else []),
        *(f"{path}{_only_copy(path)}" for path in _places(layout)),
        *(["dvc.lock: its stages"] if _locked(layout) else []),
        *([f"{registry.shown}: the registered model with {versions} versions"] if versions else []),
    ]
    if not lines:
        raise ModelUnknown(layout.model, params.load().sections, layout.raw)
    return lines


def remove(layout: Layout, registry: Registry) -> list[str]:
    """Removes all that `plan` lists; gives what is kept where. The registry first: it may refuse."""
    registry.remove(layout.model)
    if layout.model in params.load().sections:
        text = params.PARAMS_FILE.read_text(encoding="utf-8")
        write(params.PARAMS_FILE, text_edits.without_section(text, layout.model).encode())
    if _locked(layout):
        write(LOCK, text_edits.without_stages(LOCK.read_text(encoding="utf-8"), layout.model).encode())
    for path in _places(layout):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    forget_ignored(layout)
    return [
        "git's history keeps its params, reports and pins",
        "DVC's cache keeps its data and bundles until `dvc gc --workspace`",
        "MLflow keeps runs and files as deleted ones until `mlflow gc`",
    ]


def ignored_line(layout: Layout) -> tuple[Path, str]:
    """Where `dvc add` has let git ignore the photos, and the line."""
    return layout.raw.with_name(".gitignore"), f"/{layout.raw.name}"


def forget_ignored(layout: Layout, instead: str | None = None) -> None:
    """Takes that line away, or puts another one in its place."""
    path, line = ignored_line(layout)
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [instead if it == line else it for it in lines if it != line or instead]
        path.unlink() if not kept else write(path, "".join(f"{it}\n" for it in kept).encode())


def _places(layout: Layout) -> Iterator[Path]:
    record = layout.raw.with_name(f"{layout.model}.dvc")
    for path in (layout.raw, record, layout.prepared, layout.bundle.parent, layout.reports, layout.pin):
        if path.exists() or path.is_symlink():
            yield path


def _locked(layout: Layout) -> bool:
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    return text_edits.without_stages(text, layout.model) != text


def _only_copy(path: Path) -> str:
    """A warning for photos that neither git nor DVC keeps."""
    if path.parent != Path("data/raw") or not path.is_dir() or path.with_name(f"{path.name}.dvc").exists():
        return ""
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--", str(path)], capture_output=True, text=True, check=False
    )
    files = len(listed.stdout.splitlines())
    return f" ({files} files that neither git nor DVC keeps: there is no way back)" if files else ""
