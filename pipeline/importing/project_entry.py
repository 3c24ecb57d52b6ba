"""Puts an inspected model into the project: its files to data/raw/<model>/, its section into params.yaml."""

import shutil
from pathlib import Path
from textwrap import indent

from pipeline import params
from pipeline.errors import ImportRefused, ModelNameInvalid
from pipeline.files import sha256_of, write
from pipeline.importing.inspection import Inspection
from pipeline.importing.labels import IMAGENET_LABELS
from pipeline.importing.params_section import ImportParams, render_section
from pipeline.layout import RAW_FOLDER, Layout
from pipeline.model_names import is_model_name, suggest_model_name
from pipeline.project import yaml_edits
from serving.artifact.files import to_json

LABELS_FILE = "labels.json"


def default_name(file: Path) -> str:
    """The name of the model that a file becomes: of its folder in data/raw/, else from its own name."""
    folder = file.resolve().parent
    inside = folder.parent == RAW_FOLDER.resolve() and is_model_name(folder.name)
    return folder.name if inside else suggest_model_name(file.stem)


def section_of(inspection: Inspection) -> str:
    """The section of params.yaml for an inspected model, without its name."""
    request, trials = inspection.request, inspection.resize_trials
    names = ImportParams(
        request.file.name,
        _labels_name(inspection),
        inspection.head or "softmax",
        request.code.name if request.code else None,
        request.architecture,
    )
    lowest_top1 = trials[0].interval[0] if trials else None
    return render_section(names, inspection.best, lowest_top1, inspection.smallest_class)


def add_to_project(inspection: Inspection, model: str) -> list[str]:
    """Copies model, labels, code and photos, and adds the section; returns a line for each step.

    A file that is in its place already is left alone. Raises `ImportRefused` if the model has a section, its
    labels are unknown, or another file has the name of one.
    """
    if not is_model_name(model):
        raise ModelNameInvalid(model, suggest_model_name(model))
    raw, request = Layout(model).raw, inspection.request
    if model in params.load().sections:
        reason = f"{params.PARAMS_FILE} has a section of that name; edit it, or choose a name with --name"
        raise ImportRefused(model, reason)
    if inspection.labels is None:
        raise ImportRefused(model, "its labels are unknown; name a file of them with --labels")
    if inspection.head is None:
        raise ImportRefused(model, "neither the file nor photos tell whether its outputs are probabilities")
    sources = [request.file, *([request.code] if request.code else [])]
    copies = [(source, raw / source.name) for source in sources]
    if request.photos is not None:
        copies.append((request.photos, raw))
    lines = [_copy(source, target) for source, target in copies if source.resolve() != target.resolve()]
    if _labels_name(inspection) != IMAGENET_LABELS:
        # In the order of the outputs, also where the given file was not.
        write(raw / LABELS_FILE, to_json([label.name for label in inspection.labels]))
        lines.append(f"{raw / LABELS_FILE}: {len(inspection.labels)} names in the order of the outputs")
    text = params.PARAMS_FILE.read_text(encoding="utf-8")
    section = indent(section_of(inspection), "  ", lambda line: bool(line.strip()))
    text = f"{yaml_edits.add_to_models(text, model).rstrip()}\n\n{model}:\n{section}"
    write(params.PARAMS_FILE, text.encode())
    return [*lines, f"{params.PARAMS_FILE}: section {model}; `make run MODEL={model}` builds it"]


def _labels_name(inspection: Inspection) -> str:
    given = inspection.request.labels
    if given is not None and given.name == IMAGENET_LABELS and inspection.label_order is None:
        return IMAGENET_LABELS
    return LABELS_FILE


def _copy(source: Path, target: Path) -> str:
    """Copies a file, or a folder with all in it, under a temporary name first."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    for file in files:
        copy = target / file.relative_to(source) if source.is_dir() else target
        if copy.exists():
            if sha256_of(copy) != sha256_of(file):
                raise ImportRefused(file.name, f"{copy} exists and is another file than {file}")
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        temporary = copy.with_name(f".{copy.name}.tmp")
        shutil.copyfile(file, temporary)
        temporary.replace(copy)
    return f"{target}: copied from {source}" + (f" ({len(files):,} files)" if source.is_dir() else "")
