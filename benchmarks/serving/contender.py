"""What a contender is: one row of the table, and how its processes are started."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.environments import programs
from benchmarks.serving.wire import Wire

OURS, TUTORIAL, LIMIT, PEER = "ours", "tutorial", "limit", "peer"


@dataclass(frozen=True)
class Place:
    """Where a contender runs: its port, and a folder that is its own."""

    port: int
    folder: Path


@dataclass(frozen=True)
class Contender:
    """One row of the table. `command` may install what it needs, and raises `NotInstalled` if it cannot."""

    name: str
    kind: str
    precision: str
    setup: str
    path: str
    wire: Wire
    command: Callable[[Place], list[str]]
    variables: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    peer: str = ""

    def environment(self, place: Place) -> dict[str, str]:
        """The variables of its processes: those of this one, without what is meant for a server here."""
        foreign = ("GOLDFISH_", "MLFLOW_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # Nobody shall write into a bundle, or find an environment other than its own.
        kept |= {"PORT": str(place.port), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.peer:
            kept["PATH"] = f"{programs(self.peer)}{os.pathsep}{kept['PATH']}"
        return kept | dict(self.variables(place))
