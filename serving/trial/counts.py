"""The counts of a trial: they can be added up, and written as numbers for memory that processes share."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import add
from typing import Any, Self

from serving.trial.comparison import AnswerPair

# Upper bounds of the histogram of differences; each bin includes its bound.
DIFFERENCE_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# With more classes than that, most would have too few answers to be read one by one.
MAX_LABELS = 50
# The first fields of `Counts`, which are counts rather than sums.
WHOLE_NUMBERS = 5


@dataclass(frozen=True)
class Counts:
    """The answers that were compared so far, of one process or of several.

    `compared`: pairs of answers. `agreed`: those with the same best class. `failed`: those without a valid
    answer of the candidate. `slower`: those in which the candidate took longer than allowed. `dropped`:
    pairs that were chosen for the trial and not compared. `difference_sum`: the sum of the differences of
    the probability of the active model's best class. `active_seconds`, `candidate_seconds`: the time for the
    pairs without a failure. `differences`: how many of these are in each bin of the histogram.
    """

    compared: int = 0
    agreed: int = 0
    failed: int = 0
    slower: int = 0
    dropped: int = 0
    difference_sum: float = 0.0
    active_seconds: float = 0.0
    candidate_seconds: float = 0.0
    differences: tuple[int, ...] = (0,) * len(DIFFERENCE_BOUNDS)

    @classmethod
    def of(cls, pair: AnswerPair) -> Self:
        """The counts of one pair."""
        if pair.failed:
            return cls(compared=1, failed=1)
        # A difference may exceed 1 by the rounding of probabilities.
        chosen = min(bisect_left(DIFFERENCE_BOUNDS, pair.difference), len(DIFFERENCE_BOUNDS) - 1)
        return cls(
            compared=1,
            agreed=int(pair.agreed),
            slower=int(pair.slower),
            difference_sum=pair.difference,
            active_seconds=pair.active_seconds,
            candidate_seconds=pair.candidate_seconds,
            differences=tuple(int(number == chosen) for number in range(len(DIFFERENCE_BOUNDS))),
        )

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Self:
        """The inverse of `to_numbers`. Raises `ValueError` for another number of numbers."""
        if len(numbers) != COUNT_NUMBERS:
            raise ValueError(f"{len(numbers)} numbers are no counts, which are {COUNT_NUMBERS} numbers")
        *single, _ = (field.name for field in fields(cls))
        values: dict[str, Any] = dict(zip(single, numbers, strict=False))
        whole = {name: int(values[name]) for name in single[:WHOLE_NUMBERS]}
        return cls(**(values | whole), differences=tuple(map(int, numbers[len(single) :])))

    def to_numbers(self) -> tuple[float, ...]:
        """All counts in a fixed order; `COUNT_NUMBERS` says how many. A float64 holds each exactly."""
        *single, _ = (getattr(self, field.name) for field in fields(self))
        return (*map(float, single), *map(float, self.differences))

    def __add__(self, other: Self) -> Self:
        return self.from_numbers(tuple(map(add, self.to_numbers(), other.to_numbers())))

    @property
    def timed(self) -> int:
        """The pairs without a failure, which have a difference and times."""
        return max(0, self.compared - self.failed)

    @property
    def mean_difference(self) -> float | None:
        """The mean difference of the probability of the active model's best class; `None` without a pair."""
        return self.difference_sum / self.timed if self.timed else None


COUNT_NUMBERS = len(Counts().to_numbers())


@dataclass(frozen=True)
class LabelCounts:
    """How many answers were compared, and how many disagreed, for each of the active model's K labels."""

    compared: tuple[int, ...]
    disagreed: tuple[int, ...]

    @classmethod
    def empty(cls, classes: int) -> Self | None:
        """No answers yet; `None` for more than `MAX_LABELS` classes, which are not counted one by one."""
        return cls((0,) * classes, (0,) * classes) if classes <= MAX_LABELS else None

    @classmethod
    def of(cls, pair: AnswerPair, classes: int) -> Self:
        """The counts of one pair."""
        own = [int(number == pair.active_class) for number in range(classes)]
        return cls(tuple(own), tuple(0 if pair.agreed else count for count in own))

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Self:
        """The inverse of `to_numbers`. Raises `ValueError` for an odd number of numbers."""
        if len(numbers) % 2:
            raise ValueError(f"{len(numbers)} numbers are no counts of labels, which have two each")
        whole, classes = tuple(map(int, numbers)), len(numbers) // 2
        return cls(whole[:classes], whole[classes:])

    def to_numbers(self) -> tuple[float, ...]:
        """The 2 K counts, those of all answers first."""
        return tuple(map(float, self.compared + self.disagreed))

    def __add__(self, other: Self) -> Self:
        """Raises `ValueError` for counts of another number of labels."""
        mine, theirs = self.to_numbers(), other.to_numbers()
        return self.from_numbers([a + b for a, b in zip(mine, theirs, strict=True)])
