"""What the planners and appliers of all models use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.api.served_model import ServedModel
from serving.config import Settings
from serving.log import LOG
from serving.updates.memory import ModelMemory
from serving.updates.plan import Board, Refusal, Version
from serving.workers.shared_folder import SharedFolder


@dataclass(frozen=True)
class Shared:
    """What the planners and appliers of all models use."""

    settings: Settings
    folder: SharedFolder
    board: Board
    memory: ModelMemory
    # Called before a version becomes active.
    prepare: Callable[[ServedModel], None]
    # Called with the name of a model and what became of an attempt to change it.
    count: Callable[[str, str], None]
    # How often the operator has sent SIGHUP, after which refused versions are tried again.
    reloads: Callable[[], int]

    def refuse(self, model: str, version: Version, refusal: Refusal) -> None:
        """Has all workers refuse a version; the first one that does so logs it."""
        if self.board.refuse(version.digest, refusal):
            self.count(model, "refused")
            self.log("a version is refused", model, version, code=refusal.code, reason=refusal.reason)

    def log(self, message: str, model: str, version: Version | None, **fields: Any) -> None:  # noqa: ANN401
        """Logs what has happened, as a warning if there is a `code`."""
        identity = {"version": version.version, "digest": version.digest} if version else {}
        log = LOG.warning if "code" in fields else LOG.info
        log(message, extra={"fields": {"model": model, **identity, **fields}})

    def log_exception(self, message: str, error: Exception) -> None:
        """Logs an error that should not exist, with its trace."""
        LOG.error(message, exc_info=error)
