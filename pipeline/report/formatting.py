"""Numbers, differences and hashes as Markdown text."""

from pipeline.markdown import code


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def percent_with_interval(share: float, interval: tuple[float, float]) -> str:
    return f"{percent(share)} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def signed(difference: float, digits: int = 0) -> str:
    """A number with its sign; minus is U+2212."""
    return f"{difference:+,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed_with_arrow(difference: float, digits: int = 0) -> str:
    if not difference:
        return "no change"
    # More digits if a difference that is not zero would otherwise be shown as zero.
    while digits < 5 and round(abs(difference), digits) == 0:
        digits += 1
    return f"{'▲' if difference > 0 else '▼'} {signed(difference, digits)}"


def points(difference: float) -> str:
    """The difference of two shares in percentage points."""
    return signed_with_arrow(100 * difference, 1) + (" points" if difference else "")


def p_value(probability: float) -> str:
    return "p < 0.0001" if probability < 0.0001 else f"p = {probability:#.2g}"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, in the singular or plural."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short_commit(commit: str) -> str:
    return code(commit[:10])


def short_digest(digest: str) -> str:
    return code(digest[:12])
