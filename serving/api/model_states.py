"""The states of a model's versions, as `GET /models` lists them."""

import time
from collections.abc import Iterable, Iterator

from serving.api.model_versions import ModelVersions
from serving.api.response_schemas import LabelDisagreement, LoadedVersion, ModelState, TrialState
from serving.api.service import Service
from serving.updates.plan import Refusal, Report
from serving.updates.trial import Trial
from serving.updates.update_thread import ModelUpdates


def model_states(service: Service) -> list[ModelState]:
    """All models.

    If the metrics have a port of their own, which is not public, trials and reasons are left out: who asks
    before and after another client's request could tell how that was answered, and reasons name addresses.
    """
    public = not service.settings.metrics_port
    return [_model_state(updates, public) for updates in service.updates]


def _model_state(updates: ModelUpdates, public: bool) -> ModelState:
    versions, planner = updates.versions, updates.planner
    reports = updates.shared.board.read_reports(versions.name)
    both = (reports.active, reports.candidate)
    failures = [report.failure for report in both if report.failure]
    return ModelState(
        name=versions.name,
        follows=planner.target.name,
        candidates=planner.candidates.name if planner.candidates else None,
        versions=[*_loaded(versions, public), *_refused(both, public)],
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


def _refused(reports: Iterable[Report], public: bool) -> Iterator[LoadedVersion]:
    for report in reports:
        target, refusal = report.target, report.refusal
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
