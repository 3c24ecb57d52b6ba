"""Follows one target: reads it again and again, and tries to do what it asks for."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from serving.api.model_versions import ModelVersions
from serving.api.served_model import ServedModel
from serving.artifact.pin import Pin
from serving.errors import ServingError
from serving.log import LOG
from serving.updates.errors import PullFailed
from serving.updates.loading import find_loaded, load_version
from serving.updates.shared import Shared
from serving.updates.targets import Target
from serving.updates.trials import Trials
from serving.workers.agreement import Refusal

# Errors of files that may be just about to be written, as by `dvc pull`: refused after some attempts.
DAMAGED, DAMAGED_ATTEMPTS = frozenset({"digest_mismatch", "file_missing", "file_unexpected"}), 3
# Errors after which another attempt may always succeed. Others are of the version itself.
TRANSIENT = frozenset(
    {
        "alias_unusable",
        "bundle_missing",
        "destination_taken",
        "digest_not_pinned",
        "file_unreadable",
        "pin_invalid",
        "pin_missing",
        "pull_failed",
        "registry_unavailable",
        "signature_missing",
        "version_missing",
    }
)
INTERNAL = "internal"
# Seconds before a failed attempt is repeated, which double each time: up to 17 minutes.
FIRST_DELAY, MAX_DOUBLINGS = 1.0, 10


@dataclass(frozen=True)
class FollowerStatus:
    """What is known of the version that a target names.

    `target` is None before it was read. `refusal`: why the version is not loaded, until SIGHUP or a restart;
    `failure`: why the last attempt failed, which will be repeated. `succeeded` is when the target was last
    read and followed, or refused, in seconds since 1970.
    """

    target: Pin | None = None
    refusal: Refusal | None = None
    failure: Refusal | None = None
    succeeded: float = 0.0


class Follower(ABC):
    """The followers of one model are called by one thread only; `status` may be read by all."""

    def __init__(self, versions: ModelVersions, target: Target, trials: Trials, shared: Shared) -> None:
        self.versions, self.target, self.trials, self.shared = versions, target, trials, shared
        self.status = FollowerStatus()
        self._failures, self._next_attempt = 0, 0.0

    @abstractmethod
    def follow(self, target: Pin) -> Refusal | None:
        """Does what the target asks for; returns why its version is refused, if it is."""

    def look(self, at_once: bool = False) -> None:
        """Reads the target and follows it. `at_once`: also if the last attempt has failed just now."""
        try:
            target = self.target.read(at_once)
            if at_once or target != self.status.target:
                self._failures, self._next_attempt = 0, 0.0
                self.status = replace(self.status, target=target)
            if time.monotonic() < self._next_attempt:
                return
            refusal = self.follow(target)
        # Whatever fails, the server goes on with the version that it has.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            self._failures, self._next_attempt = 0, 0.0
            self.status = FollowerStatus(target, refusal, None, time.time())

    def load(self, target: Pin) -> ServedModel | Refusal:
        """Loads the version of the target, and waits until all workers have it; or says why it is refused.

        Raises what another attempt may mend.
        """
        shared = self.shared
        try:
            loaded = find_loaded(self.versions, target)
            model = loaded or load_version(self.versions, target, self.target, shared)
        except ServingError as error:
            if not self._is_lasting(error):
                raise
            return self.refuse(target, error)
        finally:
            shared.memory.update(loaded=target.name)
        return shared.agreement.await_others(target.digest) or model

    def is_moved(self, target: Pin) -> bool:
        """Has the target moved, for example while its version was loaded?"""
        return self.target.read(at_once=True) != target

    def refuse(self, target: Pin, error: ServingError) -> Refusal:
        """Has all workers refuse a version from now on."""
        refusal = Refusal(code_of(error), str(error))
        self.shared.agreement.refuse(target.digest, refusal)
        self.shared.count(target.name, "refused")
        self.log("a version is refused", target, code=refusal.code, reason=refusal.reason)
        return refusal

    def log(self, message: str, pin: Pin | None, **fields: Any) -> None:  # noqa: ANN401  (members of a line)
        """Logs what has happened, as a warning if there is a `code`."""
        identity = {"version": pin.version, "digest": pin.digest} if pin else {}
        log = LOG.warning if "code" in fields else LOG.info
        log(message, extra={"fields": {"model": self.versions.name, **identity, **fields}})

    def _is_lasting(self, error: ServingError) -> bool:
        """Is it the version that is at fault, so that another attempt would fail too?"""
        code = code_of(error)
        if code in DAMAGED:
            return self._failures + 1 >= DAMAGED_ATTEMPTS
        return code not in TRANSIENT

    def _fail(self, error: Exception) -> None:
        """Notes a failure, which is logged once, and sets the time of the next attempt."""
        failure = Refusal(code_of(error), str(error) or type(error).__name__)
        if failure != self.status.failure:
            self.shared.count(self.versions.name, "failed")
            self.log(f"{self.target.name} cannot be followed", None, code=failure.code, reason=failure.reason)
            if failure.code == INTERNAL:
                LOG.error("the cause", exc_info=error)
        self.status = replace(self.status, failure=failure)
        self._next_attempt = time.monotonic() + FIRST_DELAY * 2.0 ** min(self._failures, MAX_DOUBLINGS)
        self._failures += 1


def code_of(error: Exception) -> str:
    """The code of an error, of this server or not."""
    match error:
        case PullFailed():
            return error.reason_code
        case ServingError():
            return error.code
        case MemoryError():
            return "memory_short"
        case OSError():
            return "system_error"
    return INTERNAL
