"""The gauges of a model in `/metrics`: loaded versions, golden check, drift, and whether it is up to date."""

from collections.abc import Iterator

from serving.api.drift_gauges import drift_gauges
from serving.api.metrics import CallbackGauge
from serving.api.model_versions import ModelVersions
from serving.updates.plan import Reports
from serving.updates.trial import Trial


def update_gauges(model: str, reports: Reports) -> Iterator[CallbackGauge]:
    """Whether the versions that should be loaded are loaded."""
    for target, report in (("active", reports.active), ("candidate", reports.candidate)):
        label = {"model": model, "target": target}
        text = "1 if the version of the pin or alias is refused, else 0."
        yield CallbackGauge("update_refused", text, float(report.refusal is not None), label)
        text = "1 if the pin or alias cannot be followed now, else 0."
        yield CallbackGauge("update_failing", text, float(report.failure is not None), label)
        if report.succeeded:
            text = "When the pin or alias was last read, in seconds since 1970."
            yield CallbackGauge("update_last_success_timestamp_seconds", text, report.succeeded, label)


def trial_gauges(model: str, trial: Trial) -> Iterator[CallbackGauge]:
    """What the present trial has shown, over all workers."""
    counts = trial.counts()
    disagreed = counts.compared - counts.agreed - counts.failed
    results = {
        "agreed": counts.agreed,
        "disagreed": disagreed,
        "failed": counts.failed,
        "dropped": counts.dropped,
    }
    for result, number in results.items():
        labels = {"model": model, "result": result}
        yield CallbackGauge("trial_images", "Images of the present trial, by result.", number, labels)
    if counts.timed:
        text = "Mean difference of the probabilities of the active version's best class."
        yield CallbackGauge(
            "trial_mean_difference", text, counts.difference_sum / counts.timed, {"model": model}
        )
        times = {"active": counts.active_seconds, "candidate": counts.candidate_seconds}
        for role, seconds in times.items():
            labels, text = {"model": model, "role": role}, "Mean seconds per image of the present trial."
            yield CallbackGauge("trial_seconds", text, seconds / counts.timed, labels)


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
    if loaded.trial:
        yield from trial_gauges(versions.name, loaded.trial)
    if loaded.active.drift:
        yield from (CallbackGauge(*gauge, label) for gauge in drift_gauges(loaded.active.drift))
