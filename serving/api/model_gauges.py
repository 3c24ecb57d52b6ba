"""The gauges of a model in `/metrics`: which versions are loaded, the golden check, and drift."""

from collections.abc import Iterator

from serving.api.drift_gauges import drift_gauges
from serving.api.metrics import CallbackGauge
from serving.api.model_versions import ModelVersions


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
