"""The JSON documents of responses. The schemas in `/openapi.json` are generated from these classes."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the bundle's manifest.")]
Precision = Annotated[Literal["int8", "float32"], Meta(description="Number format of the model's weights.")]


class Outcome(Struct):
    """The server is running."""

    outcome: Literal["endpoint working successfully"]


class ClassScore(Struct):
    """One class of a prediction."""

    label: Annotated[str, Meta(description="Unique among the classes of the model.")]
    id: Annotated[str, Meta(description="Its id in the data set; for ImageNet the WordNet id.")]
    score: Annotated[float, Meta(ge=0, le=1, description="Probability.")]


class Model(Struct):
    """The identity of the model."""

    name: str
    version: int
    digest: Digest


class Timing(Struct):
    """Milliseconds spent in each phase."""

    queue: Milliseconds
    decode: Milliseconds
    inference: Milliseconds


class Predictions(Struct, omit_defaults=True):
    """One list of classes for each image, in the order of the images; best class first.

    The other lists have one entry for each image too; they are left out if the model does not have them.
    """

    predictions: list[list[ClassScore]]
    model: Model
    milliseconds: Timing
    request_id: str
    set: Annotated[
        list[list[str]] | None,
        Meta(description="Classes that have the right one with the probability `level`."),
    ] = None
    level: Annotated[
        float | None,
        Meta(description="Holds on average over images of the kind of the validation images."),
    ] = None
    familiar: Annotated[
        list[bool] | None,
        Meta(description="`false`: the image does not look like those that the model has learned."),
    ] = None
    abstained: Annotated[
        list[bool] | None,
        Meta(description="`true`: the best score is below the operator's threshold; do not rely on it."),
    ] = None


class ImageBox(Struct):
    """A part of the upright image, in pixels from its top left corner. It may extend beyond the image."""

    left: float
    top: float
    width: float
    height: float


class Explained(Struct):
    """Why an image is of a class: the values of a grid over the part that the model has seen."""

    label: str
    id: str
    score: Share
    method: Annotated[
        Literal["cam", "occlusion"],
        Meta(
            description="`cam`: the mean of the values plus `bias` is the logit, before the temperature. "
            "`occlusion`: what the logarithm of the score loses when a place is covered."
        ),
    ]
    values: Annotated[list[list[float]], Meta(description="From top to bottom and from left to right.")]
    bias: float | None
    box: Annotated[ImageBox, Meta(description="The part of the image under the grid.")]
    width: Annotated[int, Meta(ge=1, description="Of the upright image, in pixels.")]
    height: Annotated[int, Meta(ge=1)]
    model: Model
    milliseconds: Timing
    request_id: str


class Alive(Struct):
    """The process is alive."""

    status: Literal["alive"]


class Ready(Struct):
    """The predictions of the golden images are those that evaluation recorded."""

    status: Literal["ready"]
    golden_images: Annotated[int, Meta(ge=1)]
    tolerance: Annotated[float, Meta(description="Largest accepted difference from a recorded probability.")]
    difference: Annotated[float, Meta(description="Largest difference that was found at the start.")]


class Version(Struct):
    """Identity of the model and versions of its runtime."""

    name: str
    version: int
    digest: Digest
    precision: Precision
    pin_commit: Annotated[str | None, Meta(description="Git commit that pinned this version.")]
    runtime: dict[str, str]


class PreprocessingCard(Struct):
    """How an image becomes the input of the model."""

    height: Annotated[int, Meta(ge=1)]
    width: Annotated[int, Meta(ge=1)]
    channels: Annotated[Literal[1, 3], Meta(description="3: RGB, 1: grey.")]
    resize: Annotated[
        Literal["crop", "squash", "pad"],
        Meta(description="Central part, whole image stretched, or whole image with black bars."),
    ]
    crop: Annotated[float, Meta(gt=0, le=1, description="Share of the largest central part that is kept.")]
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    antialias: bool


class Shift(Struct):
    """How far the last answers are from the validation images, in bits: 0 the same, 1 nothing in common."""

    answers: Annotated[int, Meta(ge=0, description="Answers that it rests on; tensors have no size.")]
    shift: Annotated[Share | None, Meta(description="Jensen-Shannon divergence; null: too few answers.")]
    usual: Annotated[Share | None, Meta(description="Exceeded by chance once in a hundred times.")]


class Drift(Struct):
    """The last answers of this process compared with the validation images."""

    answers: Annotated[int, Meta(ge=0, description="Number of last answers, at most 1000.")]
    needed: Annotated[int, Meta(ge=1, description="Fewer answers than this are not compared.")]
    estimated_accuracy: Annotated[
        Share | None,
        Meta(description="Mean calibrated confidence; null: no temperature or too few answers."),
    ]
    unfamiliar_share: Annotated[
        Share | None,
        Meta(description="Energy below the threshold; null: no threshold or too few answers."),
    ]
    unfamiliar_share_usual: Annotated[
        Share | None, Meta(description="Exceeded by chance once in a hundred times.")
    ]
    distributions: Annotated[
        dict[str, Shift], Meta(description="By name: class, confidence, energy, brightness, size.")
    ]


class LabelDisagreement(Struct):
    """How often the candidate disagreed where the active version gave this label."""

    label: str
    compared: int
    disagreed: int


class TrialState(Struct):
    """What a trial has shown so far, over all workers. Of failures there is neither difference nor time."""

    state: Annotated[
        Literal["undecided", "as_good", "worse"], Meta(description="The last two end the trial.")
    ]
    reason: str
    compared: Annotated[int, Meta(ge=0, description="Images that both versions classified.")]
    agreed: Annotated[int, Meta(ge=0, description="With the same best class.")]
    failed: Annotated[int, Meta(ge=0, description="For which the candidate had no answer.")]
    slower: Annotated[int, Meta(ge=0, description="For which the candidate took too long.")]
    dropped: Annotated[int, Meta(ge=0, description="Chosen and not compared: no slot was idle.")]
    mean_difference: Annotated[
        float | None, Meta(description="Of the probabilities of the active version's best class.")
    ]
    active_ms: Annotated[float | None, Meta(description="Mean time per image.")]
    candidate_ms: float | None
    labels: Annotated[
        list[LabelDisagreement], Meta(description="Labels with disagreements, if there are at most 50.")
    ]


class LoadedVersion(Struct, omit_defaults=True):
    """A version that is loaded, or refused."""

    version: int
    digest: Digest
    state: Annotated[
        Literal["active", "candidate", "previous", "refused"],
        Meta(
            description="`active` answers, `candidate` is on trial, `previous` was active before and is kept "
            "for a while, `refused` is not served."
        ),
    ]
    since: Annotated[str | None, Meta(description="When it became active, as an RFC 3339 time.")] = None
    trial: TrialState | None = None
    code: Annotated[str | None, Meta(description="Code of the error for which it is refused.")] = None
    reason: str | None = None


class ModelState(Struct):
    """The versions of a model, and what decides which of them is active."""

    name: str
    follows: Annotated[str, Meta(description="The pin, or an alias of the registry as `model@alias`.")]
    candidates: Annotated[str | None, Meta(description="The alias whose versions are put on trial.")]
    versions: list[LoadedVersion]
    failure: Annotated[
        str | None, Meta(description="Why the pin or alias cannot be followed now; it is tried again.")
    ]


class ModelStates(Struct):
    """All models of this server."""

    models: list[ModelState]


class ModelCard(Struct):
    """The model card: identity, input, classes, metrics and drift."""

    name: str
    version: int
    digest: Digest
    precision: Precision
    pin_commit: str | None
    runtime: dict[str, str]
    input: Annotated[str, Meta(description="The part of an image that is classified, and its size.")]
    preprocessing: PreprocessingCard
    classes: int
    labels: list[str]
    metrics: Annotated[
        dict[str, Any] | None, Meta(description="The pipeline's metrics.json, if it belongs to this digest.")
    ]
    drift: Annotated[
        Drift | None,
        Meta(description="Null: no record of validation images, or metrics have their own port."),
    ] = None


class ProblemDetails(Struct):
    """An error, after RFC 9457. `code` is stable; `detail` is for people and may change."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    trace_id: str | None = None
    index: Annotated[int | None, Meta(description="Index of the image, from 0, if there are several.")] = None


class ErrorDocument(Struct):
    """An error in the format of most other protocols, with this server's code."""

    error: str
    code: str
    request_id: str
    trace_id: str | None = None
    index: int | None = None


class MlflowError(Struct):
    """An error in MLflow's format, with this server's code."""

    error_code: str
    message: str
    code: str
    request_id: str
    trace_id: str | None = None
    index: int | None = None
