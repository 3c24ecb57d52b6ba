"""The states of a model's versions, as `GET /models` lists them."""

import time
from collections.abc import Iterator

from serving.api.response_schemas import LoadedVersion, ModelState
from serving.updates.model_update import ModelUpdate


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
        yield LoadedVersion(pin.version, pin.digest, role, since)
    if status.target and (refusal := status.refusal):
        target = status.target
        yield LoadedVersion(
            target.version, target.digest, "refused", code=refusal.code, reason=refusal.reason
        )


def _time(seconds: float) -> str:
    """A time in UTC, as RFC 3339 writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
