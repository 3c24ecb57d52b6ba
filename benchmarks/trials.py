"""How many answers the sequential test of a trial takes, for docs/trials.md. Computed, not measured.

`python -m benchmarks.trials` writes the tables. The numbers are exact: the test depends on the counts alone,
so the probability of each count that has not ended the trial yet follows from those one answer before.
"""

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.documents import TRIALS, markdown_table, replace_section
from serving.trial.decision import LEVEL
from serving.trial.defaults import AGREEMENT_FLOOR
from serving.trial.sequential_test import OFFSETS, evidence_above, evidence_below

Direction = Literal["below", "above"]
DECISIONS: dict[Direction, str] = {"below": "worse", "above": "as good"}
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The true shares of agreement in the tables, by the side of the floor, and the number of answers that the
# tables cover.
AGREEMENTS: dict[Direction, Sequence[float]] = {
    "below": (0.0, 0.5, 0.8, 0.9),
    "above": (0.97, 0.98, 0.99, 1.0),
}
# Shares at which a decision would be wrong.
ALARMS: tuple[tuple[Direction, float], ...] = (
    ("below", AGREEMENT_FLOOR),
    ("below", 0.97),
    ("below", 1.0),
    ("above", AGREEMENT_FLOOR),
    ("above", 0.9),
)
ANSWERS = 5000
MIXTURE_AGREEMENTS: dict[Direction, Sequence[float]] = {
    "below": (0.0, 0.5, 0.8, 0.9, 0.94),
    "above": (0.96, 0.98, 0.99, 1.0),
}
MIXTURE_ANSWERS = 20_000
# Mixtures that were compared: distances from the floor in log-odds.
MIXTURES: dict[str, tuple[float, ...]] = {
    "¼, ½, 1, 2, 4, 8 (chosen)": OFFSETS,
    "⅛, ¼, …, 8": (0.125, *OFFSETS),
    "½, 1, 2, 4": OFFSETS[1:5],
    "½, 1, 1½, …, 8": tuple(number / 2 for number in range(1, 17)),
    "1 alone": (1.0,),
    "2 alone": (2.0,),
}
# Seed of the simulation, which the tests compare with what is computed.
SEED = 1


@lru_cache
def passing_counts(
    direction: Direction, floor: float, level: float, answers: int, offsets: tuple[float, ...] = OFFSETS
) -> Counts:
    """The least count that ends the trial after each number of answers, int64 [answers].

    It counts failures for `below` and successes for `above`. More than the number of answers: none does.
    """
    needed, count = -math.log(level), 0
    found = np.empty(answers, dtype=np.int64)
    for number in range(1, answers + 1):
        # With one more answer, the least count stays the same or grows.
        while count <= number and _evidence(direction, count, number, floor, offsets) < needed:
            count += 1
        found[number - 1] = count
    return found


def _evidence(
    direction: Direction, count: int, answers: int, floor: float, offsets: Sequence[float]
) -> float:
    if direction == "below":
        return evidence_below(answers - count, count, floor, offsets)
    return evidence_above(count, answers - count, floor, offsets)


def stopping_times(direction: Direction, share: float, passing: Counts) -> Floats:
    """The probability that the trial ends after each number of answers, float64 [answers]."""
    chance = 1 - share if direction == "below" else share
    ended = np.zeros(len(passing))
    # The probability of each count without an end so far; a count in reach of an end is below `passing[-1]`.
    alive = np.zeros(int(passing[-1]) + 1)
    alive[0] = 1.0
    for number, least in enumerate(passing):
        alive[1:] = alive[1:] * (1 - chance) + alive[:-1] * chance
        alive[0] *= 1 - chance
        ended[number] = alive[least:].sum()
        alive[least:] = 0.0
    return ended


def simulate(direction: Direction, share: float, passing: Counts, runs: int) -> Counts:
    """After how many answers simulated trials end, int64 [runs]; 0: not within the answers."""
    chance = 1 - share if direction == "below" else share
    happened = np.random.default_rng(SEED).random((runs, len(passing))) < chance
    ends = happened.cumsum(axis=1, dtype=np.int32) >= passing
    return np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, 0)


def quantile(ended: Floats, share: float) -> int | None:
    """The number of answers within which this share of the trials ends; `None` if that takes more."""
    reached = np.cumsum(ended) >= share
    return int(reached.argmax()) + 1 if reached.any() else None


def agreement_table() -> str:
    """How many answers a decision takes with the default rules, by the true share of agreement."""
    rows = []
    for direction, shares in AGREEMENTS.items():
        passing = passing_counts(direction, AGREEMENT_FLOOR, LEVEL, ANSWERS)
        for share in shares:
            ended = stopping_times(direction, share, passing)
            rows.append((f"{100 * share:g} %", DECISIONS[direction], *_quantiles(ended)))
    return markdown_table(("true agreement", "decision", "median", "95 % of trials within"), rows)


def alarm_table() -> str:
    """The probability of a wrong decision if the test is read after every answer."""
    rows = []
    for direction, share in ALARMS:
        passing = passing_counts(direction, AGREEMENT_FLOOR, LEVEL, ANSWERS)
        alarms = float(stopping_times(direction, share, passing).sum())
        rows.append((f"{100 * share:g} %", DECISIONS[direction], f"{alarms:.5f}"))
    return markdown_table(("true agreement", "wrong decision", f"within {ANSWERS:,} answers"), rows)


def mixture_table() -> str:
    """The same for several mixtures: median / 95 % quantile for each share."""
    rows: dict[str, list[str]] = {name: [name] for name in MIXTURES}
    for direction, shares in MIXTURE_AGREEMENTS.items():
        for name, offsets in MIXTURES.items():
            passing = passing_counts(direction, AGREEMENT_FLOOR, LEVEL, MIXTURE_ANSWERS, offsets)
            rows[name] += [
                " / ".join(_quantiles(stopping_times(direction, share, passing))) for share in shares
            ]
    columns = [f"{100 * share:g} %" for shares in MIXTURE_AGREEMENTS.values() for share in shares]
    return markdown_table(("distances", *columns), rows.values())


def _quantiles(ended: Floats) -> tuple[str, str]:
    """Median and 95 % quantile as text; a dash if fewer trials end within the answers."""
    median, most = quantile(ended, 0.5), quantile(ended, 0.95)
    return (f"{median:,}" if median else "–", f"{most:,}" if most else "–")  # noqa: RUF001  (a dash)


def main() -> int:
    """Writes the tables."""
    replace_section(TRIALS, "agreement", agreement_table())
    replace_section(TRIALS, "alarms", alarm_table())
    replace_section(TRIALS, "mixtures", mixture_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
