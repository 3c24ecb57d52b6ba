"""What the followers of all models use."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.api.served_model import ServedModel
from serving.config import Settings
from serving.updates.memory import ModelMemory
from serving.workers.agreement import Agreement
from serving.workers.shared_folder import SharedFolder


@dataclass(frozen=True)
class Shared:
    """What all followers use."""

    settings: Settings
    folder: SharedFolder
    agreement: Agreement
    memory: ModelMemory
    # Called before a version becomes active.
    prepare: Callable[[ServedModel], None]
    # Called with the name of a model and what became of an attempt to change it.
    count: Callable[[str, str], None]
    # How often the operator has sent SIGHUP, after which refused versions are tried again.
    reloads: Callable[[], int]
