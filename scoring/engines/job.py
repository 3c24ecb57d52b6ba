"""What a worker needs besides its chunks."""

from dataclasses import dataclass

from scoring.plan import Options
from serving.artifact.bundle import Bundle


@dataclass(frozen=True)
class Job:
    """`bundle` has its files in memory, so it can be sent to other machines.

    Relative entries are below `root`.
    """

    bundle: Bundle
    root: str
    options: Options
