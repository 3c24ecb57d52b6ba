"""Model status and metadata, as in TensorFlow Serving and in KServe's first protocol."""

from typing import Any, Literal

from msgspec import Struct, field

from serving.api.model_repository import INPUT, OUTPUT, ModelEntry

DEFAULT = "serving_default"
METHOD = "tensorflow/serving/predict"
# Inputs whose name ends in _bytes hold bytes, which are written as {"b64": ...} in JSON.
ENCODED = "image_bytes"


class Names(Struct):
    """The names of the models."""

    models: list[str]


class Code(Struct):
    """The status of a version without errors."""

    error_code: Literal["OK"] = "OK"
    error_message: Literal[""] = ""


class VersionStatus(Struct):
    """One version and its state."""

    version: str
    state: Literal["AVAILABLE"] = "AVAILABLE"
    status: Code = field(default_factory=Code)


class Status(Struct):
    """The status of a model: first the members for KServe, then those for TensorFlow Serving's clients."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


class Spec(Struct):
    """The name and version of a model."""

    name: str
    version: str
    signature_name: str = ""


class Metadata(Struct):
    """Inputs and outputs, in the format of a SavedModel."""

    model_spec: Spec
    metadata: dict[str, Any]


def status(entry: ModelEntry, one: bool) -> Status:
    """The status of one version, or of all that are loaded."""
    versions = [entry.version] if one else entry.versions
    return Status(entry.name, True, [VersionStatus(version) for version in versions])


def metadata(entry: ModelEntry) -> Metadata:
    """The model's only signature."""
    if entry.pixels:
        inputs = {INPUT: _tensor(INPUT, "DT_UINT8", -1, *entry.shape)}
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
