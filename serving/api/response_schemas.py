"""The documents that the server answers with. `/openapi.json` is made from these classes."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the bundle's manifest.")]
Precision = Annotated[Literal["int8", "float32"], Meta(description="What the model computes with.")]


class Outcome(Struct):
    """The server is there."""

    outcome: Literal["endpoint working successfully"]


class ClassScore(Struct):
    """One class of an answer."""

    label: Annotated[str, Meta(description="Unique among the classes of the model.")]
    id: Annotated[str, Meta(description="What the data set calls it; for ImageNet the WordNet id.")]
    score: Annotated[float, Meta(ge=0, le=1, description="Probability.")]


class Model(Struct):
    """Who answered."""

    name: str
    version: int
    digest: Digest


class Timing(Struct):
    """Where the time went."""

    queue: Milliseconds
    decode: Milliseconds
    inference: Milliseconds


class Predictions(Struct):
    """One list of classes for each image, in the order of the images; best class first."""

    predictions: list[list[ClassScore]]
    model: Model
    milliseconds: Timing
    request_id: str


class Alive(Struct):
    """The process answers."""

    status: Literal["alive"]


class Ready(Struct):
    """The golden images were answered as evaluation recorded them."""

    status: Literal["ready"]
    golden_images: Annotated[int, Meta(ge=1)]
    tolerance: Annotated[float, Meta(description="How far a probability may be from the recorded one.")]
    difference: Annotated[float, Meta(description="The largest one that was found at the start.")]


class Version(Struct):
    """Identity of the model and of what it runs on."""

    name: str
    version: int
    digest: Digest
    precision: Precision
    pin_commit: Annotated[str | None, Meta(description="The git commit that pinned this version.")]
    runtime: dict[str, str]


class ModelCard(Struct):
    """What is known of the model: identity, input, classes, and what evaluation found out."""

    name: str
    version: int
    digest: Digest
    precision: Precision
    pin_commit: str | None
    runtime: dict[str, str]
    input: Annotated[str, Meta(description="What the network sees of an image.")]
    classes: int
    labels: list[str]
    metrics: Annotated[
        dict[str, Any] | None, Meta(description="The pipeline's metrics.json, if it is of this digest.")
    ]


class ProblemDetails(Struct):
    """An error, after RFC 9457. `code` is stable; `detail` is for people and may change."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    index: Annotated[int | None, Meta(description="Which of several images it is about, from 0.")] = None


class ErrorDocument(Struct):
    """An error, as most protocols of other servers have it, with this server's code beside it."""

    error: str
    code: str
    request_id: str
    index: int | None = None


class MlflowError(Struct):
    """An error as MLflow has it."""

    error_code: str
    message: str
    code: str
    request_id: str
    index: int | None = None
