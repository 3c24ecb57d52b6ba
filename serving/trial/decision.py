"""Decides from the counts of a trial whether the candidate is as good as the active model."""

from dataclasses import dataclass
from enum import StrEnum

from serving.trial import sequential_test
from serving.trial.counts import Counts
from serving.trial.defaults import AGREEMENT_FLOOR, MAX_SLOWDOWN
from serving.trial.intervals import describe_share
from serving.trial.sequential_test import SMALLEST_FLOOR, Verdict

# The probability of each wrong decision, over the whole trial of one version.
LEVEL = 0.001
# Fewer answers may all be for similar images. With a floor of 95 % the test needs 154 anyway, with one of
# 50 % only 12.
MIN_COMPARED = 100
# The candidate is too slow if it takes longer than allowed in more than this share of the answers: the median
# of the ratios is then above `max_slowdown`.
SLOWER_SHARE = 0.5


class State(StrEnum):
    """What a trial has shown so far. The last two are final."""

    UNDECIDED = "undecided"
    AS_GOOD = "as_good"
    WORSE = "worse"


@dataclass(frozen=True)
class Rules:
    """When a candidate is as good. Raises `ValueError` for values that cannot be tested.

    `agreement_floor`: the share of equal answers that it must exceed. `max_slowdown`: how many times as long
    as the active model it may take for an image. `level`: the probability of each wrong decision.
    """

    agreement_floor: float = AGREEMENT_FLOOR
    max_slowdown: float = MAX_SLOWDOWN
    level: float = LEVEL
    min_compared: int = MIN_COMPARED

    def __post_init__(self) -> None:
        # `not <=` rather than `>`, because NaN must fail.
        if not SMALLEST_FLOOR <= self.agreement_floor <= 1 - SMALLEST_FLOOR:
            raise ValueError(f"the floor of the agreement is {self.agreement_floor}, not between 0 and 1")
        if not 0 < self.max_slowdown < float("inf"):
            raise ValueError(f"the slowdown allowed is {self.max_slowdown}, not a number above 0")
        if not 0 < self.level < 1:
            raise ValueError(f"the level is {self.level}, not between 0 and 1")
        if self.min_compared < 1:
            raise ValueError(f"the least number of answers is {self.min_compared}, not 1 or more")


@dataclass(frozen=True)
class Decision:
    """The state of a trial, and the figures that it follows from, in words."""

    state: State
    reason: str


def judge(counts: Counts, rules: Rules) -> Decision:
    """Decides from all answers so far. May be called after every answer; the first final decision counts.

    A candidate that agrees at least as often as the floor, and is slower in at most half of the answers, is
    called worse with a probability of at most twice `rules.level`. One that agrees at most as often as the
    floor is called as good with a probability of at most `rules.level`.
    """
    if counts.compared < 1:
        return Decision(State.UNDECIDED, "no answers were compared yet")
    # A process may be writing its counts while they are read, so one of them can be ahead of the others.
    agreed, slower = min(counts.agreed, counts.compared), min(counts.slower, counts.timed)
    agreement = sequential_test.decide(agreed, counts.compared - agreed, rules.agreement_floor, rules.level)
    slowness = sequential_test.decide(slower, counts.timed - slower, SLOWER_SHARE, rules.level)
    found, floor = _describe_agreement(agreed, counts), f"{100 * rules.agreement_floor:g} %"
    if agreement is Verdict.BELOW:
        return Decision(State.WORSE, f"{found}, below {floor}")
    if slowness is Verdict.ABOVE:
        return Decision(State.WORSE, f"{_describe_slowness(slower, counts.timed, rules)}, more than half")
    if agreement is Verdict.UNDECIDED:
        return Decision(State.UNDECIDED, f"{found}: not yet clearly above or below {floor}")
    if counts.compared < rules.min_compared:
        needed = f"at least {rules.min_compared:,} are needed"
        return Decision(State.UNDECIDED, f"{found}, above {floor}; {needed}")
    slowdown = _describe_slowness(slower, counts.timed, rules)
    return Decision(State.AS_GOOD, f"{found}, above {floor}; {slowdown}")


def _describe_agreement(agreed: int, counts: Counts) -> str:
    failed = f", {counts.failed:,} of them failed" if counts.failed else ""
    share = describe_share(agreed, counts.compared)
    return f"agrees in {agreed:,} of {counts.compared:,} answers{failed}, {share}"


def _describe_slowness(slower: int, timed: int, rules: Rules) -> str:
    share = describe_share(slower, timed)
    return f"takes more than {rules.max_slowdown:g} times as long in {slower:,} of {timed:,} answers, {share}"
