"""The loaded versions of one model, and which of them answers.

A request reads `ModelVersions.loaded` once and keeps the model that it has found there, so a change during
the request does not concern it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from serving.api.served_model import ServedModel
from serving.updates.trial import Trial

Role = Literal["active", "candidate", "previous"]


@dataclass(frozen=True)
class LoadedVersions:
    """`active` answers requests that name no version; `previous` was active before.

    `since` is when `active` became active, in seconds since 1970.
    """

    active: ServedModel
    trial: Trial | None = None
    previous: ServedModel | None = None
    since: float = 0.0

    def __iter__(self) -> Iterator[tuple[Role, ServedModel]]:
        """The versions that are loaded, the active one first."""
        yield "active", self.active
        if self.trial:
            yield "candidate", self.trial.candidate
        if self.previous:
            yield "previous", self.previous


class ModelVersions:
    """The versions of one model. `loaded` is changed by one assignment of a new object."""

    def __init__(self, active: ServedModel) -> None:
        self.name = active.pin.name
        self.loaded = LoadedVersions(active, since=time.time())

    @property
    def active(self) -> ServedModel:
        """The version that answers requests that name none."""
        return self.loaded.active
