"""The gauges of a model in `/metrics`: loaded versions, golden check, drift, and whether it is up to date."""

from collections.abc import Iterator

from serving.api.drift_gauges import drift_gauges
from serving.api.metrics import CallbackGauge
from serving.api.model_versions import ModelVersions
from serving.updates.model_update import UpdateStatus


def update_gauges(model: str, status: UpdateStatus) -> Iterator[CallbackGauge]:
    """Whether the version that should be served is served."""
    label = {"model": model}
    text = "1 if the version that should be served is refused, else 0."
    yield CallbackGauge("update_refused", text, float(status.refusal is not None), label)
    text = "1 if the last attempt to follow the pin or alias has failed, else 0."
    yield CallbackGauge("update_failing", text, float(status.failure is not None), label)
    if status.succeeded:
        text = "When the pin or alias was last read and followed, or its version refused."
        yield CallbackGauge("update_last_success_timestamp_seconds", text, status.succeeded, label)


def model_gauges(versions: ModelVersions) -> Iterator[CallbackGauge]:
    """The gauges of one model; golden check and drift are those of its active version."""
    loaded = versions.loaded
    for role, model in loaded:
        pin = model.pin
        identity = {"name": pin.name, "version": str(pin.version), "digest": pin.digest, "role": role}
        yield CallbackGauge("model_info", "Identity of a loaded version.", 1.0, identity)
    label, golden = {"model": versions.name}, loaded.active.golden
    text = "Largest difference of a golden image's probability from the recorded one, when it was loaded."
    yield CallbackGauge("golden_difference", text, golden.difference, label)
    yield CallbackGauge("golden_tolerance", "Largest accepted difference.", golden.tolerance, label)
    if loaded.active.drift:
        yield from (CallbackGauge(*gauge, label) for gauge in drift_gauges(loaded.active.drift))
