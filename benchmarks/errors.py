"""Errors of the benchmarks.

    BenchmarkError
    ├── ToolMissing         a program that the benchmark needs is not installed
    ├── ProjectIncomplete   the project has not built the model to be served
    ├── CommandFailed       a command that the benchmark runs exited with an error
    ├── Disturbed           other programs used the cores; the results are shown, but not written
    └── ContenderFailed     a contender cannot be measured; its row states why
        ├── NotInstalled    its environment cannot be created
        ├── NotStarted      it returned no correct prediction in time
        └── LoadFailed      the load generator printed no figures

Each class builds its message: what was tried, what happened instead, what to do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

# Characters of a program's output that an error quotes: the last ones, which name the cause.
QUOTED = 300


class BenchmarkError(Exception):
    """An expected error: the command prints its message and exits with 1."""


class ToolMissing(BenchmarkError):
    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"{tool} is not on PATH: `{remedy}` installs it.")


class ProjectIncomplete(BenchmarkError):
    def __init__(self, path: Path, reason: str, model: str) -> None:
        super().__init__(
            f"{path} {reason}: run `make run MODEL={model}` first, or name a project in which that was done "
            "with --project."
        )


class CommandFailed(BenchmarkError):
    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        self.reason = " ".join(output.split())[-QUOTED:] or "it wrote nothing"
        super().__init__(f"`{' '.join(command)}` ended with exit code {code}: {self.reason}")


class Disturbed(BenchmarkError):
    """`shares` are what others took of the cores, 0 to 1, by what was measured."""

    def __init__(self, shares: Mapping[str, float], tolerated: float) -> None:
        listed = "; ".join(f"{name} ({share:.0%})" for name, share in shares.items())
        super().__init__(
            f"nothing was written: other programs or machines took more than {tolerated:.0%} of the cores' "
            f"time while these were measured: {listed}. Stop what else runs (`top` "
            "shows it, `st` is what other machines take) and measure again."
        )


class ContenderFailed(BenchmarkError):
    """One contender failed; the others are still measured."""


class NotInstalled(ContenderFailed):
    def __init__(self, requirements: Path, reason: str) -> None:
        super().__init__(f"{requirements.parent.name} cannot be installed from {requirements.name}: {reason}")


class NotStarted(ContenderFailed):
    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(f"no right answer within {seconds:.0f} s of its start: {reason}")


class LoadFailed(ContenderFailed):
    def __init__(self, output: str) -> None:
        super().__init__(
            f"the load generator printed no figures, but: {output.strip()[-QUOTED:] or 'nothing'}"
        )
