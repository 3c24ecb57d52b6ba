"""`rename <old> <new>`: gives a model another name without training it again.

The name is part of a bundle and of its digest, so the renamed model is exported, evaluated and registered
anew. Versions under the old name stay in the registry for the servers that use them.
"""

import shutil
from pathlib import Path

import yaml

from pipeline import params
from pipeline.errors import NameTaken
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.model_names import is_model_name
from pipeline.project import yaml_edits
from pipeline.project.removal import LOCK, replace_gitignore_entry
from pipeline.registry.mlflow_registry import Registry

# The stages whose outputs contain the model's name.
NAME_DEPENDENT_STAGES = ("export", "evaluate", "register")


def rename_model(old: Layout, new: Layout, registry: Registry) -> list[str]:
    """Moves everything that does not depend on the name; returns what was done and what is kept."""
    _check_new_name(old, new, registry)
    versions = registry.tag_as_renamed(old.model, new.model)
    text = params.PARAMS_FILE.read_text(encoding="utf-8")
    write(params.PARAMS_FILE, yaml_edits.rename_section(text, old.model, new.model).encode())
    if LOCK.exists():
        lock = LOCK.read_text(encoding="utf-8")
        lock = yaml_edits.remove_stages(lock, old.model, NAME_DEPENDENT_STAGES)
        write(LOCK, yaml_edits.rename_stages(lock, old.model, new.model).encode())
    _rename_dvc_file(old, new)
    for source, target in (
        (old.raw, new.raw),
        (old.foreign, new.foreign),
        (old.prepared, new.prepared),
        (old.built, new.built),
    ):
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
    for path in (old.bundle.parent, old.reports):
        shutil.rmtree(path, ignore_errors=True)
    old.pin.unlink(missing_ok=True)
    old.signature.unlink(missing_ok=True)
    return [
        f"{old.model} is {new.model} now in params.yaml, dvc.lock, data and models; nothing is trained again",
        f"removed: {old.bundle}, {old.reports}, {old.pin} (git and DVC's cache keep them)",
        f"kept: {versions} versions of {old.model} at {registry.display_uri}, noted as renamed",
        f"next: `make run MODEL={new.model}` exports, measures, registers and pins it under its new name",
    ]


def _check_new_name(old: Layout, new: Layout, registry: Registry) -> None:
    document = params.load()
    document.for_model(old.model)
    if not is_model_name(new.model):
        raise NameTaken(new.model, "a name has small letters, digits, - and _, and begins with a letter")
    if new.model in document.sections:
        raise NameTaken(new.model, "params.yaml has a section of that name")
    dvc_file = new.raw.with_name(f"{new.model}.dvc")
    inputs = (new.raw, dvc_file, new.foreign)
    for path in (*inputs, new.prepared, new.bundle.parent, new.reports, new.pin, new.signature):
        if path.exists() or path.is_symlink():
            raise NameTaken(new.model, f"{path} is there already")
    if registry.list_versions(new.model):
        raise NameTaken(new.model, f"{registry.display_uri} has versions of that name")


def _rename_dvc_file(old: Layout, new: Layout) -> None:
    """Renames the .dvc file that `dvc add` wrote for the photos, the path in it, and the .gitignore entry."""
    dvc_file = old.raw.with_name(f"{old.model}.dvc")
    if not dvc_file.is_file():
        return
    document = yaml.safe_load(dvc_file.read_text(encoding="utf-8"))
    for out in document["outs"]:
        if Path(out["path"]) == Path(old.model):
            out["path"] = new.model
    write(new.raw.with_name(f"{new.model}.dvc"), yaml.safe_dump(document, sort_keys=False).encode())
    dvc_file.unlink()
    replace_gitignore_entry(old, replacement=f"/{new.model}")
