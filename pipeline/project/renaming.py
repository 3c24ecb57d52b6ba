"""`rename <old> <new>`: a model under another name, without training it again.

The name is part of a bundle, and so of its digest: the new name begins with a version of its own. Versions
that were registered under the old name stay there, for those who still serve them.
"""

import shutil
from pathlib import Path

import yaml

from pipeline import params
from pipeline.errors import NameTaken
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.model_names import is_model_name
from pipeline.project import text_edits
from pipeline.project.removal import LOCK, forget_ignored
from pipeline.registry.mlflow_registry import Registry

# What these stages make depends on the name.
NAMED = ("export", "evaluate", "register")


def rename(old: Layout, new: Layout, registry: Registry) -> list[str]:
    """Moves all that does not depend on the name; gives what was done and what is kept."""
    _check(old, new, registry)
    kept = registry.note_renamed(old.model, new.model)
    text = params.PARAMS_FILE.read_text(encoding="utf-8")
    write(params.PARAMS_FILE, text_edits.renamed_section(text, old.model, new.model).encode())
    if LOCK.exists():
        lock = text_edits.without_stages(LOCK.read_text(encoding="utf-8"), old.model, NAMED)
        write(LOCK, text_edits.renamed_stages(lock, old.model, new.model).encode())
    _record(old, new)
    for there, here in ((old.raw, new.raw), (old.prepared, new.prepared), (old.built, new.built)):
        if there.exists() or there.is_symlink():
            here.parent.mkdir(parents=True, exist_ok=True)
            there.rename(here)
    for path in (old.bundle.parent, old.reports):
        shutil.rmtree(path, ignore_errors=True)
    old.pin.unlink(missing_ok=True)
    return [
        f"{old.model} is {new.model} now in params.yaml, dvc.lock, data and models; nothing is trained again",
        f"removed: {old.bundle}, {old.reports}, {old.pin} (git and DVC's cache keep them)",
        f"kept: {kept} versions of {old.model} at {registry.shown}, noted as renamed",
        f"next: `make run MODEL={new.model}` exports, measures, registers and pins it under its new name",
    ]


def _check(old: Layout, new: Layout, registry: Registry) -> None:
    document = params.load()
    document.for_model(old.model)
    if not is_model_name(new.model):
        raise NameTaken(new.model, "a name has small letters, digits, - and _, and begins with a letter")
    if new.model in document.sections:
        raise NameTaken(new.model, "params.yaml has a section of that name")
    record = new.raw.with_name(f"{new.model}.dvc")
    for path in (new.raw, record, new.prepared, new.bundle.parent, new.reports, new.pin):
        if path.exists() or path.is_symlink():
            raise NameTaken(new.model, f"{path} is there already")
    if registry.versions(new.model):
        raise NameTaken(new.model, f"{registry.shown} has versions of that name")


def _record(old: Layout, new: Layout) -> None:
    """What `dvc add` has written about the photos."""
    record = old.raw.with_name(f"{old.model}.dvc")
    if not record.is_file():
        return
    document = yaml.safe_load(record.read_text(encoding="utf-8"))
    for out in document["outs"]:
        if Path(out["path"]) == Path(old.model):
            out["path"] = new.model
    write(new.raw.with_name(f"{new.model}.dvc"), yaml.safe_dump(document, sort_keys=False).encode())
    record.unlink()
    forget_ignored(old, instead=f"/{new.model}")
