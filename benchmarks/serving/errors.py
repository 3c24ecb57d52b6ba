"""What can go wrong in a measurement, as one tree.

    BenchmarkError
    ├── ToolMissing         a program that the benchmark needs is not installed
    ├── ProjectIncomplete   the project has not built the model that is to be served
    ├── TwinMissing         its float32 bundle, which the peers serve, cannot be exported
    └── ContenderFailed     a contender cannot be measured; its row says why
        ├── NotInstalled    its environment cannot be made
        ├── NotStarted      it gave no right answer in time
        └── LoadFailed      the load generator did not say what it measured

Each class builds its own sentence: what was tried, what came instead, what to do.
"""

from pathlib import Path


class BenchmarkError(Exception):
    """Root of the tree: expected, said in a sentence, exit code 1."""


class ToolMissing(BenchmarkError):
    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"{tool} is not on PATH: `{remedy}` installs it.")


class ProjectIncomplete(BenchmarkError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} {reason}: run `make run MODEL=imagenet` first, or name a project in which that was done "
            "with --project."
        )


class TwinMissing(BenchmarkError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The project's model cannot be exported in float32: {reason}")


class ContenderFailed(BenchmarkError):
    """The others are measured all the same."""


class NotInstalled(ContenderFailed):
    def __init__(self, requirements: Path, reason: str) -> None:
        super().__init__(f"{requirements.parent.name} cannot be installed from {requirements.name}: {reason}")


class NotStarted(ContenderFailed):
    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(f"no right answer within {seconds:.0f} s of its start: {reason}")


class LoadFailed(ContenderFailed):
    def __init__(self, output: str) -> None:
        super().__init__(f"wrk did not say what it measured, but: {output.strip()[-300:] or 'nothing'}")
