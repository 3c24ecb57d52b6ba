"""Imports the Python file that a user has declared for the custom classes of a model."""

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import CustomCodeInvalid
from pipeline.network.backend import keras


def import_custom_code(path: Path) -> dict[str, Any]:
    """Runs the file, and returns its classes and functions by their own and by their registered names.

    Names that it imports from elsewhere are not among them, so that they replace no class of Keras.
    Raises `CustomCodeInvalid`.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise CustomCodeInvalid(path, f"it cannot be read ({error.strerror or error})") from error
    name = f"goldfish_model_code_{hashlib.sha256(source).hexdigest()[:16]}"
    with _outside_the_registry():
        module = sys.modules.get(name) or _import(path, name)
    own = {
        key: value
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == name
    }
    return own | {keras.saving.get_registered_name(value): value for value in own.values()}


def _import(path: Path, name: str) -> Any:  # noqa: ANN401
    specification = importlib.util.spec_from_loader(
        name, importlib.machinery.SourceFileLoader(name, str(path.resolve()))
    )
    if specification is None or specification.loader is None:
        raise CustomCodeInvalid(path, "it is no Python file")
    module = importlib.util.module_from_spec(specification)
    # Pickle and dataclasses look a class's module up here.
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        # A user's code can raise anything, and SystemExit is what a script ends with.
        if isinstance(error, MemoryError | KeyboardInterrupt):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise CustomCodeInvalid(path, reason) from error
    return module


@contextlib.contextmanager
def _outside_the_registry() -> Iterator[None]:
    """What is registered with Keras inside the block is forgotten: no other model file can refer to it."""
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    try:
        yield
    finally:
        registry.clear()
        registry.update(before)
