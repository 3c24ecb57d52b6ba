"""The states of a model's versions, as `GET /models` lists them."""

import time
from collections.abc import Iterator

from serving.api.response_schemas import LabelDisagreement, LoadedVersion, ModelState, TrialState
from serving.updates.model_update import ModelUpdate
from serving.updates.trial import Trial


def model_state(update: ModelUpdate) -> ModelState:
    """One model."""
    failure = update.status.failure
    return ModelState(
        update.versions.name,
        update.target.name,
        list(_versions(update)),
        f"{failure.code}: {failure.reason}" if failure else None,
    )


def _versions(update: ModelUpdate) -> Iterator[LoadedVersion]:
    loaded, status = update.versions.loaded, update.status
    for role, model in loaded:
        pin = model.pin
        since = _time(loaded.since) if role == "active" else None
        trial = _trial_state(loaded.trial) if role == "candidate" and loaded.trial else None
        yield LoadedVersion(pin.version, pin.digest, role, since, trial)
    if status.target and (refusal := status.refusal):
        target = status.target
        yield LoadedVersion(
            target.version, target.digest, "refused", code=refusal.code, reason=refusal.reason
        )


def _trial_state(trial: Trial) -> TrialState:
    counts, decision = trial.counts(), trial.decision()
    timed = counts.timed
    return TrialState(
        state=decision.state.value,
        reason=decision.reason,
        compared=counts.compared,
        agreed=counts.agreed,
        failed=counts.failed,
        slower=counts.slower,
        dropped=counts.dropped,
        mean_difference=counts.mean_difference,
        active_ms=1000 * counts.active_seconds / timed if timed else None,
        candidate_ms=1000 * counts.candidate_seconds / timed if timed else None,
        labels=list(_disagreements(trial)),
    )


def _disagreements(trial: Trial) -> Iterator[LabelDisagreement]:
    if (by_label := trial.label_counts()) is None:
        return
    rows = zip(trial.active.label_names, by_label.compared, by_label.disagreed, strict=True)
    for label, compared, disagreed in rows:
        if disagreed:
            yield LabelDisagreement(label, compared, disagreed)


def _time(seconds: float) -> str:
    """A time in UTC, as RFC 3339 writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
