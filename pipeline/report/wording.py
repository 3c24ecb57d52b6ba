"""Figures and differences as they read in a report."""

from pipeline.report import paired
from pipeline.report.comparison import Answers


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def with_interval(share: float, bounds: tuple[float, float]) -> str:
    """A share and its 95 % interval."""
    return f"{percent(share)} ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def signed(difference: float, digits: int = 0) -> str:
    """A number with its sign, a true minus."""
    return f"{difference:+,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def moved(difference: float, digits: int = 0) -> str:
    """A difference with an arrow."""
    if not difference:
        return "no change"
    # More digits for what would read as nothing: it is not nothing.
    while digits < 5 and round(abs(difference), digits) == 0:
        digits += 1
    return f"{'▲' if difference > 0 else '▼'} {signed(difference, digits)}"


def points(difference: float) -> str:
    """A difference of shares, in points of a hundred."""
    return moved(100 * difference, 1) + (" points" if difference else "")


def chance(probability: float) -> str:
    """A p-value."""
    return "p < 0.0001" if probability < 0.0001 else f"p = {probability:#.2g}"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number of things."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def judgement(answers: Answers, name: str) -> str:
    """What the images that both sides answered say about which one is better."""
    lost, gained, images = answers.counts
    if not images:
        return f"no image in common with {name}"
    if not lost + gained:
        return f"the same images right as {name}"
    better = "better" if gained > lost else "worse"
    verdict = f"significantly {better} than" if answers.significant else "no significant difference from"
    return f"{verdict} {name} ({lost:,} lost, {gained:,} gained, {chance(paired.probability(lost, gained))})"
