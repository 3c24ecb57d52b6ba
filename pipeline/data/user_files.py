"""Files in `data/raw/<model>/` beside the photos: a model that the user brings, its labels, Python files.

`prepare` copies them to `data/prepared/<model>/files/`, from where `build` reads them, so that a change of
one of them is a change of the data.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.data import ignored_files

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx")
# Python files hold custom layers or a network. Labels are copied only for a model: photos, too, often come
# with text and JSON files.
CODE_SUFFIX, LABEL_SUFFIXES = ".py", (".txt", ".json", ".csv")
SAVED_MODEL = "saved_model.pb"


def is_saved_model(folder: Path) -> bool:
    """Is it a TensorFlow SavedModel, and not a class folder?"""
    return (folder / SAVED_MODEL).is_file()


def find_models(raw: Path) -> list[Path]:
    """The model files and SavedModel folders directly in `raw`, sorted."""
    return [path for path in _entries(raw) if _is_model(path)]


def find_user_files(raw: Path) -> list[Path]:
    """The files and SavedModel folders directly in `raw` that `build` may need, sorted."""
    suffixes = (CODE_SUFFIX, *(LABEL_SUFFIXES if find_models(raw) else ()))
    return [path for path in _entries(raw) if _is_model(path) or path.suffix.lower() in suffixes]


def copy_user_files(raw: Path, target: Path) -> None:
    """Copies them below `target`, which is not created if there are none."""
    for source in find_user_files(raw):
        for file in _files_of(source):
            copy = target / file.relative_to(raw)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _entries(raw: Path) -> Iterator[Path]:
    return (path for path in sorted(raw.iterdir()) if ignored_files.ignore_reason((path.name,)) is None)


def _is_model(path: Path) -> bool:
    return is_saved_model(path) or (path.is_file() and path.suffix.lower() in MODEL_SUFFIXES)


def _files_of(path: Path) -> list[Path]:
    return [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
