"""All that the pipeline takes from outside: params.yaml, and some environment variables.

(`pipeline/network/backend.py` also reads `KERAS_HOME`, before Keras does, and MLflow user and password.)

Reads `params.yaml` and checks every section of it, whichever stage asks: a mistyped key stops the run
before any work. There are no defaults in code; a key that is missing is an error too.

The reader is the one that DVC has, so that both see the same: YAML 1.2, in which 3e-3 is a number, and `no`
a word. PyYAML reads YAML 1.1, in which it is the other way round.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.errors import ModelNameInvalid, ModelUnknown, ParamsInvalid

PARAMS = Path("params.yaml")
# One folder for each model; `pipeline/layout.py` knows all others.
RAW = Path("data/raw")
# Files in which its photos may be: an archive, in one case without a suffix, or what `dvc add` writes.
PACKED = {"", ".dvc", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}

Fraction = Annotated[float, Field(ge=0, le=1)]
# How photos are split: as their folders are called, by content, or by folders if there are such.
Splitting = Literal["auto", "folders", "content"]
# Formats that become PNG on request.
Convertible = Literal["TIFF", "HEIC", "AVIF"]
Count = Annotated[int, Field(ge=1)]
# It becomes a folder, a DVC stage and an MLflow model; MLflow refuses more than these characters would.
NAME = r"[a-z][a-z0-9_-]{0,62}"
# Names that mean something else to YAML, or in params.yaml.
RESERVED = frozenset({"models", "true", "false", "yes", "no", "on", "off", "null", "y", "n"})
Name = Annotated[str, AfterValidator(lambda text: _named(text))]


# The widths of MobileNetV2 that Keras publishes ImageNet weights for.
PublishedAlpha = Annotated[
    float, AfterValidator(lambda value: _one_of(value, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)))
]


class Section(BaseModel):
    """A part of params.yaml: immutable, and nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Prepare(Section):
    """How images are split. Fractions are of each class; the rest is for training.

    `stratify` keeps each class near the fractions, at the price that a new photo may move another one.
    """

    split: Splitting
    stratify: bool
    valid: Fraction
    test: Annotated[float, Field(gt=0, le=1)]
    min_per_class: Count
    convert: list[Convertible]

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
    # balanced: an image counts the more, the fewer its class has, so that all classes count alike.
    class_weights: Literal["none", "balanced"]
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
    # Not asked of a model with five classes or fewer.
    min_top5: Fraction
    # Mean of the classes: each counts alike, however few its images are.
    min_recall: Fraction
    # Of the images that always answering the commonest class gets wrong; 0 does not ask for it.
    min_over_majority: Fraction
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


def suggested(text: str) -> str:
    """An allowed name that looks like a text: `My Pets` becomes `my-pets`, `1pets` becomes `model-1pets`.

    Of a path, as the shell completes it, the last part counts.
    """
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    letters = unicodedata.normalize("NFKD", last.casefold()).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-z0-9_]+", "-", letters).strip("-_")[:57].rstrip("-_")
    return plain if is_name(plain) else f"model-{plain}".rstrip("-")


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError(str(ModelNameInvalid(text, suggested(text))))
    return text


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
            raise self.unknown(model)
        return self.sections[model]

    def unknown(self, model: str) -> ModelNameInvalid | ModelUnknown:
        """What to say of a model without a section or without a folder of photos."""
        if not is_name(model):
            return ModelNameInvalid(model, suggested(model), RAW)
        beside = [path for path in sorted(RAW.glob("*")) if path.is_dir() or path.suffix in PACKED]
        meant = (path for path in beside if model in (suggested(path.name), suggested(path.stem)))
        return ModelUnknown(model, self.sections, RAW / model, next(meant, None))


def load(path: Path = PARAMS) -> Params:
    """Reads and checks the whole file; raises `ParamsInvalid` with every fault in it."""
    try:
        document = document_of(path.read_bytes(), path)
    except OSError as error:
        raise ParamsInvalid(path, [str(error)]) from None
    if not isinstance(document, dict) or "models" not in document:
        raise ParamsInvalid(path, ["models: missing; it lists the models to build"])
    reasons: list[str] = []
    models = _check(TypeAdapter(list[Name]), document.pop("models"), "models", reasons) or []
    _check(TypeAdapter(list[Name]), [str(name) for name in document], "section names", reasons)
    sections = {name: _check(TypeAdapter(Model), value, name, reasons) for name, value in document.items()}
    reasons += [f"{name}: is no name for a model" for name in document if name in RESERVED]
    reasons += [f"models: {name} is listed twice" for name in set(models) if models.count(name) > 1]
    reasons += [f"models: {name} has no section of its own" for name in models if name not in document]
    if reasons:
        raise ParamsInvalid(path, reasons)
    return Params(tuple(models), sections)


def document_of(data: bytes, path: Path = PARAMS) -> Any:  # noqa: ANN401  (whatever is in the file)
    """What a YAML file says, as DVC understands it; or `ParamsInvalid`."""
    try:
        return YAML(typ="safe").load(data.decode())
    except MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ParamsInvalid(path, [f"{place}{error.problem}"]) from None
    except RecursionError:
        raise ParamsInvalid(path, ["its values are nested too deeply"]) from None
    # ValueError: what looks like a date or a number and is none; also text that is not UTF-8.
    except (YAMLError, ValueError) as error:
        raise ParamsInvalid(path, [" ".join(str(error).split())]) from None


def _advice(kind: str, found: object) -> str:
    """How to write what YAML did not understand as it was meant."""
    if kind in ("string_type", "literal_error") and not isinstance(found, str | dict | list):
        return "; text that YAML takes for something else needs quotes"
    if kind == "bool_type":
        return "; write true or false"
    if kind == "int_type" and isinstance(found, float) and found.is_integer():
        return f"; write {int(found)}"
    if kind in ("int_type", "float_type") and isinstance(found, str):
        return f"; write {number:g}" if (number := _number(found)) is not None else "; write a number"
    return ""


def _number(text: str) -> float | None:
    """The number that a person would read; `None` if there is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _check(adapter: TypeAdapter[Any], value: object, where: str, reasons: list[str]) -> Any:  # noqa: ANN401
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        for fault in error.errors():
            # pydantic names the chosen member of a union too; it is no key of the file
            keys = [str(key) for key in fault["loc"] if key not in ("pretrained", "scratch", "finetune")]
            found = "" if fault["type"] == "missing" else f" (found {fault['input']!r})"
            advice = _advice(fault["type"], fault["input"])
            reasons.append(f"{'.'.join([where, *keys])}: {fault['msg']}{found}{advice}")
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
