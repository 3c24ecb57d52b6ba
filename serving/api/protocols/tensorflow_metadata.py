"""What TensorFlow Serving and KServe tell about a model: its state, and what goes in and comes out."""

from typing import Any, Literal

from msgspec import Struct, field

from serving.api.model_repository import INPUT, OUTPUT, Entry
from serving.api.protocols.json_pixels import CHANNELS

DEFAULT = "serving_default"
METHOD = "tensorflow/serving/predict"
# An input whose name ends so holds bytes, which JSON has as {"b64": ...}.
ENCODED = "image_bytes"


class Names(Struct):
    """What the server answers to."""

    models: list[str]


class Code(Struct):
    """Nothing is wrong."""

    error_code: Literal["OK"] = "OK"
    error_message: Literal[""] = ""


class VersionStatus(Struct):
    """One version."""

    version: str
    state: Literal["AVAILABLE"] = "AVAILABLE"
    status: Code = field(default_factory=Code)


class Status(Struct):
    """What KServe reads, and then what TensorFlow Serving's clients read."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


class Spec(Struct):
    """Which model it is."""

    name: str
    version: str
    signature_name: str = ""


class Metadata(Struct):
    """Inputs and outputs, as a SavedModel would name them."""

    model_spec: Spec
    metadata: dict[str, Any]


def status(entry: Entry) -> Status:
    """The state of the one version that there is."""
    return Status(entry.name, True, [VersionStatus(entry.version)])


def metadata(entry: Entry) -> Metadata:
    """The one signature that there is."""
    if entry.pixels:
        inputs = {INPUT: _tensor(INPUT, "DT_UINT8", -1, entry.size, entry.size, CHANNELS)}
    else:
        inputs = {ENCODED: _tensor(ENCODED, "DT_STRING", -1)}
    outputs = {OUTPUT: _tensor(OUTPUT, "DT_FLOAT", -1, len(entry.labels))}
    signature = {"inputs": inputs, "outputs": outputs, "method_name": METHOD}
    return Metadata(
        Spec(entry.name, entry.version), {"signature_def": {"signature_def": {DEFAULT: signature}}}
    )


def _tensor(name: str, kind: str, *shape: int) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "dtype": kind,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": f"{name}:0",
    }
