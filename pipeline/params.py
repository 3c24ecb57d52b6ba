"""params.yaml: the schema of its sections, and the function that reads and checks them.

Every section is checked, whichever stage asks: a mistyped key stops the run before any work. The code has no
defaults; a missing key is an error too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from pipeline.errors import ModelNameInvalid, ModelUnknown, ParamsInvalid
from pipeline.layout import RAW_FOLDER
from pipeline.model_names import RESERVED, is_model_name, suggest_model_name
from pipeline.yaml_validation import parse_yaml, validate

PARAMS_FILE = Path("params.yaml")
# Suffixes of files in data/raw/ that may hold photos: archives, also without a suffix, and .dvc files.
ARCHIVE_SUFFIXES = {"", ".dvc", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}


def _check_model_name(text: str) -> str:
    if not is_model_name(text):
        raise ValueError(str(ModelNameInvalid(text, suggest_model_name(text))))
    return text


def _check_published_alpha(value: float) -> float:
    if value not in PUBLISHED_ALPHAS:
        raise ValueError(f"must be one of {', '.join(map(str, PUBLISHED_ALPHAS))}")
    return value


# The widths of MobileNetV2 for which Keras publishes ImageNet weights.
PUBLISHED_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
PublishedAlpha = Annotated[float, AfterValidator(_check_published_alpha)]
ModelName = Annotated[str, AfterValidator(_check_model_name)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# How photos are split: by their split folders, by content hash, or by folders if there are any.
Splitting = Literal["auto", "folders", "content"]
# Formats that `prepare` converts to PNG on request.
Convertible = Literal["TIFF", "HEIC", "AVIF"]


class Section(BaseModel):
    """A section of params.yaml: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Prepare(Section):
    """How images are split. Fractions apply to each class; the rest is for training.

    `stratify` keeps each class near the fractions; then a new photo may move another photo to another split.
    """

    split: Splitting
    stratify: bool
    valid: Fraction
    test: Annotated[float, Field(gt=0, le=1)]
    min_per_class: Count
    convert: list[Convertible]

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.valid + self.test > 1:
            raise ValueError(f"valid {self.valid:g} and test {self.test:g} are together more than 1")
        return self


class Training(Section):
    """One training phase: Adam with a cosine-decayed learning rate."""

    epochs: Count
    learning_rate: Annotated[float, Field(gt=0)]


class Augment(Section):
    """Data augmentation: a random shift in fractions of a side, and a random left-right flip."""

    shift: Annotated[float, Field(ge=0, le=0.5)]
    flip: bool


class Build(Section):
    """Common to all methods: side of the input in pixels, and the fraction that the central crop keeps."""

    size: Annotated[int, Field(ge=32, le=1024)]
    crop: Annotated[float, Field(gt=0, le=1)]
    alpha: Annotated[float, Field(gt=0, le=2)]


class Pretrained(Build):
    """Keras's ImageNet weights without training, 1000 classes."""

    method: Literal["pretrained"]
    size: Literal[224]
    alpha: PublishedAlpha


class Trained(Build):
    """Common to the methods that train."""

    method: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    batch: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    # balanced: images are weighted by the inverse frequency of their class.
    class_weights: Literal["none", "balanced"]
    augment: Augment


class Scratch(Trained):
    """All layers trained from random weights. BatchNorm's default momentum, 0.999, is too slow for that."""

    method: Literal["scratch"]
    momentum: Annotated[float, Field(gt=0, lt=1)]
    training: Training


class Finetune(Trained):
    """Starts from ImageNet weights: trains a new head, then also the last `layers` of the backbone."""

    method: Literal["finetune"]
    alpha: PublishedAlpha
    head: Training
    top: Training
    layers: Count


class Export(Section):
    """Number of golden images in the bundle, precision of the served graph, number of calibration images."""

    golden: Annotated[int, Field(ge=1, le=16)]
    precision: Literal["int8", "float32"]
    calibration: Annotated[int, Field(ge=1, le=1024)]


class Evaluate(Section):
    """The thresholds of the gate, and the significance level of the test against the pinned version."""

    min_top1: Fraction
    # Not checked for a model with five classes or fewer.
    min_top5: Fraction
    # Macro-averaged recall: all classes have equal weight, however few images they have.
    min_recall: Fraction
    # Fraction of the majority-class baseline's errors that the model must avoid; 0 turns the check off.
    min_over_majority: Fraction
    min_agreement: Fraction
    max_quantisation_loss: Fraction
    max_latency_ms: Annotated[float, Field(gt=0)]
    significance: Annotated[float, Field(gt=0, lt=0.5)]


class Register(Section):
    """The description of the model in the registry."""

    description: str


class Model(Section):
    """All params of one model, one sub-section for each stage."""

    prepare: Prepare
    build: Annotated[Pretrained | Scratch | Finetune, Field(discriminator="method")]
    export: Export
    evaluate: Evaluate
    register_: Annotated[Register, Field(alias="register")]

    @model_validator(mode="after")
    def _check_training_images(self) -> Self:
        if isinstance(self.build, Trained) and self.prepare.valid + self.prepare.test >= 1:
            raise ValueError(f"prepare leaves no image to train, and {self.build.method} needs some")
        return self


@dataclass(frozen=True)
class Params:
    """params.yaml: the models that a bare `dvc repro` builds, and the params of all described models."""

    models: tuple[str, ...]
    sections: dict[str, Model]

    def for_model(self, model: str) -> Model:
        """The params of one model; `ModelUnknown` or `ModelNameInvalid` if it has no section."""
        if model not in self.sections:
            raise self.unknown_model_error(model)
        return self.sections[model]

    def unknown_model_error(self, model: str) -> ModelNameInvalid | ModelUnknown:
        """The error for a model without a section or without a folder of photos."""
        if not is_model_name(model):
            return ModelNameInvalid(model, suggest_model_name(model), RAW_FOLDER)
        candidates = [
            path for path in sorted(RAW_FOLDER.glob("*")) if path.is_dir() or path.suffix in ARCHIVE_SUFFIXES
        ]
        similar = (
            path
            for path in candidates
            if model in (suggest_model_name(path.name), suggest_model_name(path.stem))
        )
        return ModelUnknown(model, self.sections, RAW_FOLDER / model, next(similar, None))


def load(path: Path = PARAMS_FILE) -> Params:
    """Reads and checks the whole file; raises `ParamsInvalid` with every fault in it."""
    try:
        document = parse_yaml(path.read_bytes(), path)
    except OSError as error:
        raise ParamsInvalid(path, [str(error)]) from None
    if not isinstance(document, dict) or "models" not in document:
        raise ParamsInvalid(path, ["models: missing; it lists the models to build"])
    faults: list[str] = []
    names = TypeAdapter(list[ModelName])
    models = validate(names, document.pop("models"), "models", faults) or []
    validate(names, [str(name) for name in document], "section names", faults)
    sections = {name: validate(TypeAdapter(Model), value, name, faults) for name, value in document.items()}
    faults += [f"{name}: is no name for a model" for name in document if name in RESERVED]
    faults += [f"models: {name} is listed twice" for name in set(models) if models.count(name) > 1]
    faults += [f"models: {name} has no section of its own" for name in models if name not in document]
    if faults:
        raise ParamsInvalid(path, faults)
    return Params(tuple(models), sections)
