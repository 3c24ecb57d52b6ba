"""The states of a model's versions, as `GET /models` lists them."""

import time
from collections.abc import Iterator, Sequence

from serving.api.model_versions import ModelVersions
from serving.api.response_schemas import LabelDisagreement, LoadedVersion, ModelState, TrialState
from serving.updates.follower import Follower
from serving.updates.model_updates import ModelUpdates
from serving.updates.trial import Trial


def model_state(updates: ModelUpdates) -> ModelState:
    """One model."""
    followers = [each for each in (updates.active, updates.candidate) if each]
    failures = [each.status.failure for each in followers if each.status.failure]
    return ModelState(
        name=updates.versions.name,
        follows=updates.active.target.name,
        candidates=updates.candidate.target.name if updates.candidate else None,
        versions=[*_loaded(updates.versions), *_refused(followers)],
        failure="; ".join(f"{failure.code}: {failure.reason}" for failure in failures) or None,
    )


def _loaded(versions: ModelVersions) -> Iterator[LoadedVersion]:
    loaded = versions.loaded
    for role, model in loaded:
        pin = model.pin
        since = _time(loaded.since) if role == "active" else None
        trial = _trial_state(loaded.trial) if role == "candidate" and loaded.trial else None
        yield LoadedVersion(pin.version, pin.digest, role, since, trial)


def _refused(followers: Sequence[Follower]) -> Iterator[LoadedVersion]:
    for follower in followers:
        target, refusal = follower.status.target, follower.status.refusal
        if target and refusal:
            code, reason = refusal.code, refusal.reason
            yield LoadedVersion(target.version, target.digest, "refused", code=code, reason=reason)


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
