"""All that the pipeline takes from outside: params.yaml, and some environment variables.

(`pipeline/backend.py` also looks at `KERAS_HOME`, before Keras does, and MLflow at user and password.)

Reads `params.yaml` and checks every section of it, whichever stage asks: a mistyped key stops the run
before any work. There are no defaults in code; a key that is missing is an error too.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from pipeline.errors import ModelUnknown, ParamsInvalid

PARAMS = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# It becomes a folder, a DVC stage and an MLflow model; MLflow refuses more than these characters would.
NAME = r"[a-z][a-z0-9_-]{0,62}"
# Names that mean something else to YAML, or in params.yaml.
RESERVED = frozenset({"models", "true", "false", "yes", "no", "on", "off", "null", "y", "n"})
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


# The widths of MobileNetV2 that Keras publishes ImageNet weights for.
PublishedAlpha = Annotated[
    float, AfterValidator(lambda value: _one_of(value, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)))
]


class Section(BaseModel):
    """A part of params.yaml: immutable, and nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Prepare(Section):
    """How images are split. Fractions are of each class; the rest is for training."""

    valid: Fraction
    test: Annotated[float, Field(gt=0, le=1)]
    min_per_class: Count

    @model_validator(mode="after")
    def _parts_of_one(self) -> Self:
        if self.valid + self.test > 1:
            raise ValueError(f"valid {self.valid:g} and test {self.test:g} are together more than 1")
        return self


class Training(Section):
    """One round of gradient descent with Adam and a cosine-decayed learning rate."""

    epochs: Count
    learning_rate: Annotated[float, Field(gt=0)]


class Augment(Section):
    """Random changes of a training image: a shift in fractions of a side, a left-right flip."""

    shift: Annotated[float, Field(ge=0, le=0.5)]
    flip: bool


class Build(Section):
    """What every way to a model needs: the input's side in pixels and the central part that is seen."""

    size: Annotated[int, Field(ge=32, le=1024)]
    crop: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0, le=2)]


class Pretrained(Build):
    """Keras's ImageNet weights as they are, 1000 classes."""

    method: Literal["pretrained"]
    size: Literal[224]
    alpha: PublishedAlpha


class Trained(Build):
    """What every kind of training needs."""

    method: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    batch: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    augment: Augment


class Scratch(Trained):
    """All layers trained from random weights. Keras's BatchNorm momentum, 0.999, is too slow for that."""

    method: Literal["scratch"]
    momentum: Annotated[float, Field(gt=0, lt=1)]
    training: Training


class Finetune(Trained):
    """From ImageNet weights: a new head first, then also the last `layers` of the backbone."""

    method: Literal["finetune"]
    alpha: PublishedAlpha
    head: Training
    top: Training
    layers: Count


class Export(Section):
    """How many golden images the bundle carries, what it computes with, and calibration images for 8 bits."""

    golden: Annotated[int, Field(ge=1, le=16)]
    precision: Literal["int8", "float32"]
    calibration: Annotated[int, Field(ge=1, le=1024)]


class Evaluate(Section):
    """The gate's floors, and the level of the test against the pinned version."""

    min_top1: Fraction
    min_top5: Fraction
    min_agreement: Fraction
    max_quantisation_loss: Fraction
    max_latency_ms: Annotated[float, Field(gt=0)]
    significance: Annotated[float, Field(gt=0, lt=0.5)]


class Register(Section):
    """What the registry says about the model."""

    description: str


class Model(Section):
    """All params of one model, one sub-section per stage."""

    prepare: Prepare
    build: Annotated[Pretrained | Scratch | Finetune, Field(discriminator="method")]
    export: Export
    evaluate: Evaluate
    register_: Annotated[Register, Field(alias="register")]

    @model_validator(mode="after")
    def _leaves_something_to_train(self) -> Self:
        if isinstance(self.build, Trained) and self.prepare.valid + self.prepare.test >= 1:
            raise ValueError(f"prepare leaves no image to train, and {self.build.method} needs some")
        return self


# MLflow's variables that move versions away from where their runs are, or out of the server's sight; values
# that say what MLflow does anyway are none of it.
DIVERSIONS = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_ENABLE_WORKSPACES",
)
UNSET = frozenset({"false", "0", "default"})


def is_name(text: str) -> bool:
    """May a model be called so?"""
    return re.fullmatch(NAME, text) is not None and text not in RESERVED


def _one_of(value: float, allowed: tuple[float, ...]) -> float:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(map(str, allowed))}")
    return value


@dataclass(frozen=True)
class Params:
    """params.yaml: the models that a bare `dvc repro` builds, and the params of all that are described."""

    models: tuple[str, ...]
    sections: dict[str, Model]

    def of(self, model: str) -> Model:
        """The params of one model, or `ModelUnknown`."""
        if model not in self.sections:
            raise ModelUnknown(model, self.sections, Path("data/raw") / model)
        return self.sections[model]


def load(path: Path = PARAMS) -> Params:
    """Reads and checks the whole file; raises `ParamsInvalid` with every fault in it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsInvalid(path, [str(error)]) from None
    if not isinstance(document, dict) or "models" not in document:
        raise ParamsInvalid(path, ["models: missing; it lists the models to build"])
    reasons: list[str] = []
    models = _check(TypeAdapter(list[Name]), document.pop("models"), "models", reasons) or []
    _check(TypeAdapter(list[Name]), [str(name) for name in document], "section names", reasons)
    sections = {name: _check(TypeAdapter(Model), value, name, reasons) for name, value in document.items()}
    reasons += [f"models: {name} is listed twice" for name in set(models) if models.count(name) > 1]
    reasons += [f"models: {name} has no section of its own" for name in models if name not in document]
    if reasons:
        raise ParamsInvalid(path, reasons)
    return Params(tuple(models), sections)


def _check(adapter: TypeAdapter[Any], value: object, where: str, reasons: list[str]) -> Any:  # noqa: ANN401
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        for fault in error.errors():
            # pydantic names the chosen member of a union too; it is no key of the file
            keys = [str(key) for key in fault["loc"] if key not in ("pretrained", "scratch", "finetune")]
            found = "" if fault["type"] == "missing" else f" (found {fault['input']!r})"
            reasons.append(f"{'.'.join([where, *keys])}: {fault['msg']}{found}")
        return None


@dataclass(frozen=True)
class Environment:
    """What the pipeline takes from the environment."""

    tracking_uri: str | None
    keras_home: Path
    experiment: bool
    tracking_token: str = ""
    plain_http: bool = False
    # Where the project is; an experiment of `dvc exp run --temp` or of the queue runs in a copy of it.
    home: Path = Path()
    # Variables that would let MLflow keep a part of the registry in another place than the tracking URI.
    diversions: tuple[str, ...] = ()

    @classmethod
    def read(cls) -> Self:
        """`MLFLOW_TRACKING_URI`, `MLFLOW_TRACKING_TOKEN`, `KERAS_HOME`, `GOLDFISH_REGISTRY_PLAIN_HTTP` (what
        the server understands by it), and whether `dvc exp run` is what runs us, and for which project.
        """
        experiment = bool(os.environ.get("DVC_EXP_NAME") or os.environ.get("DVC_EXP_BASELINE_REV"))
        return cls(
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or None,
            keras_home=Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras"),
            experiment=experiment,
            tracking_token=os.environ.get("MLFLOW_TRACKING_TOKEN") or "",
            plain_http=os.environ.get("GOLDFISH_REGISTRY_PLAIN_HTTP", "").strip().lower() in ("1", "true"),
            home=Path(os.environ.get("DVC_ROOT") or "") if experiment else Path(),
            diversions=tuple(name for name in DIVERSIONS if _diverts(name)),
        )


def _diverts(name: str) -> bool:
    value = os.environ.get(name, "").strip()
    harmless = {os.environ.get("MLFLOW_TRACKING_URI", "")} if name == "MLFLOW_REGISTRY_URI" else UNSET
    return bool(value) and value.lower() not in harmless
