"""What `evaluate` has left of one model, read from the workspace or from a commit, and checked."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import FileDamaged
from pipeline.layout import Layout
from pipeline.report import repository
from pipeline.report.records import ClassRow, Confusion, Data, Machine, Metrics, Prediction

# The bytes of a file by its path; nothing if it is not there.
Read = Callable[[Path], bytes | None]
T = TypeVar("T")


@dataclass(frozen=True)
class Evidence:
    """All of it: one model, measured once."""

    metrics: Metrics
    predictions: list[Prediction]
    classes: list[ClassRow]
    confusions: list[Confusion]
    data: Data


def workspace(path: Path) -> bytes | None:
    """Reads what lies there now."""
    return path.read_bytes() if path.is_file() else None


def at(commit: str) -> Read:
    """Reads what a commit has."""
    return lambda path: repository.content(commit, path)


def collect(read: Read, layout: Layout) -> Evidence | None:
    """Reads a model's reports; `None` if it has no metrics, `FileDamaged` if they are not as written."""
    if read(layout.metrics) is None:
        return None
    return Evidence(
        metrics(read, layout),
        _parsed(read, layout.reports / "predictions.csv", list[Prediction]),
        _parsed(read, layout.reports / "classes.csv", list[ClassRow]),
        _parsed(read, layout.reports / "confusions.csv", list[Confusion]),
        _parsed(read, layout.reports / "data.json", Data),
    )


def metrics(read: Read, layout: Layout) -> Metrics:
    """Reads metrics.json alone."""
    return _parsed(read, layout.metrics, Metrics)


def machine(read: Read, layout: Layout) -> Machine:
    """Reads machine.json."""
    return _parsed(read, layout.machine, Machine)


def _parsed(read: Read, path: Path, kind: type[T]) -> T:
    data = read(path)
    if data is None:
        raise FileDamaged(path, "it is not there")
    try:
        return TypeAdapter(kind).validate_python(_document(path, data.decode()))
    except ValidationError as error:
        fault = error.errors()[0]
        raise FileDamaged(path, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except (ValueError, csv.Error, RecursionError) as error:
        raise FileDamaged(path, str(error)) from None


def _document(path: Path, text: str) -> Any:  # noqa: ANN401  (checked by the caller)
    if path.suffix == ".json":
        return json.loads(text)
    return list(csv.DictReader(io.StringIO(text, newline="")))
