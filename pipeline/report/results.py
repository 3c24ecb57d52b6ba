"""The files in `reports/<model>/` as validated records, read from the workspace or from a commit."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AliasPath, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

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


class CalibrationError(Record):
    """Of probabilities without the temperature."""

    value: Fraction


class LabelSet(Record):
    """`coverage`: the share of test images whose actual class is in the set."""

    level: Fraction
    coverage: Fraction


class Foreign(Record):
    """How well the energy tells foreign images from the test images."""

    auroc: Fraction


class Confidence(Record):
    """The part `confidence` of metrics.json. `foreign` is None without foreign images or without energy."""

    temperature: float | None
    uncalibrated_error: CalibrationError
    label_sets: list[LabelSet]
    foreign: Foreign | None = Field(default=None, validation_alias=AliasPath("familiar", "foreign", "all"))


class Metrics(Record):
    """metrics.json. A model without labelled photos is not evaluated, and has none of the figures."""

    digest: str
    images: ImageCount
    evaluated: bool = True
    top1: Fraction | None = None
    top1_interval: tuple[Fraction, Fraction] | None = None
    # Only with more than five classes.
    top5: Fraction | None = None
    top5_interval: tuple[Fraction, Fraction] | None = None
    precision_macro: Fraction | None = None
    recall_macro: Fraction | None = None
    f1_macro: Fraction | None = None
    calibration_error: Fraction | None = None
    # Missing in reports from before November 2026.
    majority: Majority | None = None
    # Missing for bundles without serving/confidence.json.
    confidence: Confidence | None = None
    gate: Gate

    @model_validator(mode="after")
    def _check_figures(self) -> Self:
        figures = (self.top1, self.top1_interval, self.precision_macro, self.recall_macro, self.f1_macro)
        if self.evaluated and None in (*figures, self.calibration_error):
            raise ValueError("it says that the model was evaluated, and lacks figures")
        return self


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


class ReliabilityBin(Record):
    """A row of reliability.csv: predictions of similar confidence, at a temperature."""

    # Missing in reports from before December 2026, empty if none was fitted.
    temperature: float | Literal[""] = ""
    confidence: Fraction
    accuracy: Fraction
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
    reliability: list[ReliabilityBin]


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
        parse(read, layout.reports / "reliability.csv", list[ReliabilityBin]),
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
