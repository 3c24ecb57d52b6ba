"""The files in `reports/<model>/` as validated records, read from the workspace or from a commit."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasPath, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.errors import FileDamaged
from pipeline.layout import Layout
from pipeline.params import Fraction
from pipeline.report import git_history

# Returns a file's bytes, or `None` if it does not exist.
ReadFile = Callable[[Path], bytes | None]
# The limit keeps damaged files from breaking the report's tables.
ImageCount = Annotated[int, Field(ge=0, le=10**9)]
T = TypeVar("T")


class Record(BaseModel):
    """A JSON object or CSV row. Unknown keys are ignored, so reports of other releases can be read."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class GateCheck(Record):
    passed: bool
    reason: str


class Gate(Record):
    passed: bool
    checks: dict[str, GateCheck]


class Majority(Record):
    """`share`: the accuracy of always predicting the most frequent class."""

    share: Fraction


class Metrics(Record):
    """metrics.json."""

    digest: str
    images: ImageCount
    top1: Fraction
    top1_interval: tuple[Fraction, Fraction]
    # Only with more than five classes.
    top5: Fraction | None = None
    top5_interval: tuple[Fraction, Fraction] | None = None
    precision_macro: Fraction
    recall_macro: Fraction
    f1_macro: Fraction
    calibration_error: Fraction
    # Missing in reports from before November 2026.
    majority: Majority | None = None
    gate: Gate


class Prediction(Record):
    """A row of predictions.csv. `image` is the file's path below the test folder."""

    image: str
    actual: str
    predicted: str
    confidence: Fraction

    @property
    def correct(self) -> bool:
        return self.predicted == self.actual


class ClassResult(Record):
    """A row of classes.csv."""

    name: str
    images: ImageCount
    recall: Fraction
    precision: Fraction


class Confusion(Record):
    """A row of confusions.csv."""

    actual: str
    predicted: str
    images: ImageCount


class DataSummary(Record):
    """data.json. `images`: count by split; `classes`: count by class and split.

    `near_duplicates`: pairs of similar images of which one is in the test split and the other is not.
    """

    digest: str
    images: dict[str, ImageCount]
    classes: dict[str, dict[str, ImageCount]]
    repeated: dict[str, str]
    near_duplicates: ImageCount = Field(validation_alias=AliasPath("look_alikes_across_splits", "pairs"))


class MachineResults(Record):
    """machine.json: results that depend on the machine. Latencies are of one image."""

    digest: str
    ms_p50: float = Field(validation_alias=AliasPath("latency", "total_ms_p50"))
    ms_p95: float = Field(validation_alias=AliasPath("latency", "total_ms_p95"))
    against_pinned: str


@dataclass(frozen=True)
class Results:
    """The evaluation of one bundle."""

    metrics: Metrics
    predictions: list[Prediction]
    classes: list[ClassResult]
    confusions: list[Confusion]
    data: DataSummary


def workspace_file(path: Path) -> bytes | None:
    """A `ReadFile` for the workspace."""
    return path.read_bytes() if path.is_file() else None


def files_at(commit: str) -> ReadFile:
    """A `ReadFile` for a commit."""
    return lambda path: git_history.read_file(commit, path)


def read_results(read: ReadFile, layout: Layout) -> Results | None:
    """A model's results; `None` without metrics.json, `FileDamaged` if a file is missing or invalid."""
    if read(layout.metrics) is None:
        return None
    return Results(
        parse(read, layout.metrics, Metrics),
        parse(read, layout.reports / "predictions.csv", list[Prediction]),
        parse(read, layout.reports / "classes.csv", list[ClassResult]),
        parse(read, layout.reports / "confusions.csv", list[Confusion]),
        parse(read, layout.reports / "data.json", DataSummary),
    )


def parse(read: ReadFile, path: Path, kind: type[T]) -> T:
    """Reads a JSON or CSV file and validates it; otherwise raises `FileDamaged`."""
    data = read(path)
    if data is None:
        raise FileDamaged(path, "it is not there")
    try:
        return TypeAdapter(kind).validate_python(_decode(path, data.decode()))
    except ValidationError as error:
        fault = error.errors()[0]
        raise FileDamaged(path, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except (ValueError, csv.Error, RecursionError) as error:
        raise FileDamaged(path, str(error)) from None


def _decode(path: Path, text: str) -> Any:  # noqa: ANN401  (`parse` validates it)
    return json.loads(text) if path.suffix == ".json" else list(csv.DictReader(io.StringIO(text, newline="")))
