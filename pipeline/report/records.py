"""The files of `reports/<model>/`, as far as a report needs them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.params import Fraction

# Of images; more than anybody has would break tables.
Number = Annotated[int, Field(ge=0, le=10**9)]


class Part(BaseModel):
    """A part of a file. Keys that it does not name are of no interest here, or of another time."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Check(Part):
    """One condition of the gate."""

    passed: bool
    reason: str


class Gate(Part):
    """May the model be registered?"""

    passed: bool
    checks: dict[str, Check]


class Majority(Part):
    """What always answering the commonest class gets right."""

    share: Fraction


class Metrics(Part):
    """metrics.json."""

    digest: str
    images: Number
    top1: Fraction
    top1_interval: tuple[Fraction, Fraction]
    # Where there are more than five classes.
    top5: Fraction | None = None
    top5_interval: tuple[Fraction, Fraction] | None = None
    precision_macro: Fraction
    recall_macro: Fraction
    f1_macro: Fraction
    calibration_error: Fraction
    # Not there in reports of before November 2026.
    majority: Majority | None = None
    gate: Gate


class Prediction(Part):
    """A row of predictions.csv. `image` is the file's path below the test folder."""

    image: str
    actual: str
    predicted: str
    confidence: Fraction

    @property
    def right(self) -> bool:
        return self.predicted == self.actual


class ClassRow(Part):
    """A row of classes.csv."""

    name: str
    images: Number
    recall: Fraction
    precision: Fraction


class Confusion(Part):
    """A row of confusions.csv."""

    actual: str
    predicted: str
    images: Number


class LookAlikes(Part):
    """Images that are tested on and look like others that are not."""

    pairs: Number


class Data(Part):
    """data.json: how many images of each class are in each split."""

    digest: str
    images: dict[str, Number]
    classes: dict[str, dict[str, Number]]
    repeated: dict[str, str]
    look_alikes_across_splits: LookAlikes


class Latency(Part):
    """Milliseconds for one image."""

    total_ms_p50: float
    total_ms_p95: float


class Machine(Part):
    """machine.json: what a run of `evaluate` on this machine adds, for the digest that it measured."""

    digest: str
    latency: Latency
    against_pinned: str
