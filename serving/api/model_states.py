"""The states of a model's versions, as `GET /models` lists them."""

import time
from collections.abc import Iterator, Sequence

from serving.api.model_versions import ModelVersions
from serving.api.response_schemas import LabelDisagreement, LoadedVersion, ModelState, TrialState
from serving.api.service import Service
from serving.updates.follower import Follower
from serving.updates.model_updates import ModelUpdates
from serving.updates.trial import Trial
from serving.workers.agreement import Refusal


def model_states(service: Service) -> list[ModelState]:
    """All models.

    If the metrics have a port of their own, which is not public, trials and reasons are left out: who asks
    before and after another client's request could tell how that was answered, and reasons name addresses.
    """
    public = not service.settings.metrics_port
    return [_model_state(updates, public) for updates in service.updates]


def _model_state(updates: ModelUpdates, public: bool) -> ModelState:
    followers = [each for each in (updates.active, updates.candidate) if each]
    failures = [each.status.failure for each in followers if each.status.failure]
    return ModelState(
        name=updates.versions.name,
        follows=updates.active.target.name,
        candidates=updates.candidate.target.name if updates.candidate else None,
        versions=[*_loaded(updates.versions, public), *_refused(followers, public)],
        failure="; ".join(_describe(failure, public) for failure in failures) or None,
    )


def _describe(failure: Refusal, public: bool) -> str:
    return f"{failure.code}: {failure.reason}" if public else failure.code


def _loaded(versions: ModelVersions, public: bool) -> Iterator[LoadedVersion]:
    loaded = versions.loaded
    for role, model in loaded:
        pin = model.pin
        since = _time(loaded.since) if role == "active" else None
        trial = _trial_state(loaded.trial) if public and role == "candidate" and loaded.trial else None
        yield LoadedVersion(pin.version, pin.digest, role, since, trial)


def _refused(followers: Sequence[Follower], public: bool) -> Iterator[LoadedVersion]:
    for follower in followers:
        target, refusal = follower.status.target, follower.status.refusal
        if target and refusal:
            code, reason = refusal.code, refusal.reason if public else None
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
