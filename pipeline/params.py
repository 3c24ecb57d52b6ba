"""params.yaml: the schema of its sections, and the function that reads and checks them.

Every section is checked, whichever stage asks: a mistyped key stops the run before any work. The code has no
defaults; a missing key is an error too.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from pipeline.errors import ModelNameInvalid, ModelUnknown, ParamsInvalid
from pipeline.layout import RAW_FOLDER
from pipeline.model_names import RESERVED, is_model_name, suggest_model_name
from pipeline.network.families import FAMILIES
from pipeline.yaml_validation import parse_yaml, validate

PARAMS_FILE = Path("params.yaml")
# Suffixes of files in data/raw/ that may hold photos: archives, also without a suffix, and .dvc files.
ARCHIVE_SUFFIXES = {"", ".dvc", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}


def _check_model_name(text: str) -> str:
    if not is_model_name(text):
        raise ValueError(str(ModelNameInvalid(text, suggest_model_name(text))))
    return text


def _check_architecture(name: str) -> str:
    if name not in FAMILIES:
        similar = get_close_matches(name, FAMILIES, n=3, cutoff=0.5) or list(FAMILIES)
        raise ValueError(f"is not offered; there is {', '.join(similar)}")
    return name


def _check_user_function(text: str) -> str:
    file, _, function = text.partition(":")
    if not file.endswith(".py") or "/" in file or "\\" in file or not function.isidentifier():
        raise ValueError("must be file.py:function, with the file directly in data/raw/<model>/")
    return text


Architecture = Annotated[str, AfterValidator(_check_architecture)]
UserFunction = Annotated[str, AfterValidator(_check_user_function)]
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
    """Common to all methods: side of the input in pixels, share that the central crop keeps, the network.

    `architecture` is a name in keras.applications; params.yaml files from before it existed mean MobileNetV2.
    `alpha`, the width, exists for the families of MobileNet alone.
    """

    size: Annotated[int, Field(ge=32, le=1024)]
    crop: Annotated[float, Field(gt=0, le=1)]
    architecture: Architecture = "MobileNetV2"
    alpha: Annotated[float, Field(gt=0, le=2)] | None = None

    def _check_family(self) -> None:
        family = FAMILIES[self.architecture]
        if family.alphas and self.alpha is None:
            raise ValueError(f"alpha: missing; it is the width of {self.architecture}, 1.0 is the usual one")
        if not family.alphas and self.alpha is not None:
            raise ValueError(f"alpha: {self.architecture} has only one width, leave alpha out")
        if self.size < family.min_size:
            raise ValueError(f"size: {self.architecture} needs at least {family.min_size}")

    def _check_published(self) -> None:
        """For the methods that start from ImageNet weights."""
        self._check_family()
        widths = FAMILIES[self.architecture].alphas
        if widths and self.alpha not in widths:
            listed = ", ".join(map(str, widths))
            raise ValueError(f"alpha: {self.architecture} has ImageNet weights for {listed}")


class Pretrained(Build):
    """Keras's ImageNet weights without training, 1000 classes."""

    method: Literal["pretrained"]

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        self._check_published()
        if self.size != (published := FAMILIES[self.architecture].size):
            raise ValueError(f"size: {self.architecture} was published for {published}")
        return self


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
    """All layers trained from random weights. BatchNorm's default momentum, 0.999, is too slow for that.

    `network`, as `file.py:function`, is the user's own in `data/raw/<model>/`; it takes the place of
    `architecture`, `alpha` and `momentum`.
    """

    method: Literal["scratch"]
    momentum: Annotated[float, Field(gt=0, lt=1)] | None = None
    training: Training
    network: UserFunction | None = None

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        if self.network is None:
            self._check_family()
            if self.momentum is None:
                raise ValueError("momentum: missing; 0.9 is usual for short training")
        elif given := sorted({"architecture", "alpha", "momentum"} & self.model_fields_set):
            raise ValueError(f"network: the file says what {', '.join(given)} would; leave that out")
        return self


class Finetune(Trained):
    """Starts from ImageNet weights: trains a new head, then also the last `layers` of the backbone."""

    method: Literal["finetune"]
    head: Training
    top: Training
    layers: Count

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        self._check_published()
        return self


class MeanStd(Section):
    """Mean and standard deviation of red, green and blue, of pixels divided by 255, as in torchvision."""

    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


def _check_range(limits: list[float]) -> list[float]:
    if not limits[0] < limits[1]:
        raise ValueError("the first limit must be below the second")
    return limits


# What pixels 0 to 255 become: by layers in the file (`inside`), unchanged (`none`), a range, or a mode of
# keras.applications.
Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_check_range)]
Scale = Literal["inside", "none", "caffe", "torch"] | Range | MeanStd
Side = Annotated[int, Field(ge=8, le=1024)]


def _check_user_file(text: str) -> str:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or len(path.parts) != 1:
        raise ValueError("must be the name of a file or folder directly in data/raw/<model>/")
    return text


UserFile = Annotated[str, AfterValidator(_check_user_file)]


class Import(Section):
    """A model that the user brings. `python -m pipeline inspect` finds and writes these params.

    Files lie in `data/raw/<model>/`. `labels` is a file of class names in the order of the outputs, or
    `imagenet`. `size` is [height, width]. `head` says what the last layer gives: `softmax` and `sigmoid` are
    probabilities, `logits` and `logit` are not; `sigmoid` and `logit` are one column for the second of two
    classes.
    """

    method: Literal["import"]
    model: UserFile
    labels: UserFile
    size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    resize: Literal["crop", "squash", "pad"]
    # Share that the central crop keeps; 1.0 with squash and pad.
    crop: Annotated[float, Field(gt=0, le=1)]
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    antialias: bool
    channels: Literal["RGB", "BGR", "grey"]
    scale: Scale
    head: Literal["softmax", "logits", "sigmoid", "logit"]
    # A Python file that defines the model's own layers. It is run, so it must be trusted.
    code: UserFile | None = None
    # The name of a network in keras.applications, for a file that holds weights only.
    architecture: str | None = None

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if self.resize != "crop" and self.crop != 1:
            raise ValueError(f"crop must be 1.0 with resize: {self.resize}, which shows the whole image")
        return self


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
    build: Annotated[Pretrained | Scratch | Finetune | Import, Field(discriminator="method")]
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
