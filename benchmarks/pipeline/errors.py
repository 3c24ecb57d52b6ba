"""What can go wrong here besides `benchmarks/serving/errors.py`.

    BenchmarkError
    └── CommandFailed       a command that is measured ends with an error

It builds its own sentence: what was tried, what came instead.
"""

from collections.abc import Sequence

from benchmarks.serving.errors import BenchmarkError


class CommandFailed(BenchmarkError):
    def __init__(self, command: Sequence[str], code: int, words: str) -> None:
        reason = words.strip()[-300:] or "it wrote nothing"
        super().__init__(f"`{' '.join(command)}` ended with exit code {code}: {reason}")
