"""The section of a model's metrics: now, on main, and as it is served."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.markdown import table
from pipeline.report import paired
from pipeline.report.records import Metrics
from pipeline.report.subject import NEWLY, PINNED, Side, Subject
from pipeline.report.wording import chance, count, moved, percent, points, signed, with_interval


@dataclass(frozen=True)
class Row:
    """A line of the table. One with an interval, or with `share`, is a share of the images."""

    name: str
    value: Callable[[Metrics], float | None]
    interval: Callable[[Metrics], tuple[float, float] | None] | None = None
    share: bool = False

    def shown(self, metrics: Metrics) -> str:
        value, interval = self.value(metrics), self.interval and self.interval(metrics)
        if value is None:
            return ""
        if interval is not None:
            return with_interval(value, interval)
        return percent(value) if self.share else f"{value:.4f}"

    def difference(self, now: Metrics, then: Metrics) -> str:
        after, before = self.value(now), self.value(then)
        if after is None or before is None:
            return ""
        return points(after - before) if self.share or self.interval else moved(after - before, 4)


ROWS = (
    Row("top-1", lambda metrics: metrics.top1, lambda metrics: metrics.top1_interval),
    Row("top-5", lambda metrics: metrics.top5, lambda metrics: metrics.top5_interval),
    Row("top-1 of always answering the commonest class", lambda metrics: _majority(metrics), share=True),
    Row("precision, mean of classes", lambda metrics: metrics.precision_macro),
    Row("recall, mean of classes", lambda metrics: metrics.recall_macro),
    Row("F1, mean of classes", lambda metrics: metrics.f1_macro),
    Row("calibration error, less is better", lambda metrics: metrics.calibration_error),
)


def figures(subject: Subject) -> str:
    """All metrics, each beside what it was, and what the paired images say."""
    now = subject.now.metrics
    sides = [(side, side.evidence.metrics) for side in subject.sides if not side.same]
    header = [f"on {count(now.images, 'held-out image')}", _titled("now", now, subject)]
    shown = [row for row in ROWS if any(row.shown(it) for it in (now, *(then for _, then in sides)))]
    rows = [[row.name, row.shown(now)] for row in shown]
    for side, then in sides:
        header += [_titled(side.name, then, subject), "difference"]
        for row, cells in zip(shown, rows, strict=True):
            cells += [row.shown(then), row.difference(now, then)]
    return "\n".join(
        [table(header, rows, figures=True), *(f"{_paired(side, subject)}\n" for side, _ in sides)]
    )


def _majority(metrics: Metrics) -> float | None:
    return None if metrics.majority is None else metrics.majority.share


def _titled(name: str, metrics: Metrics, subject: Subject) -> str:
    """A column's name, and whether that is what is served."""
    pins = ((PINNED, subject.served or subject.pin), (NEWLY, subject.pin))
    found = [word for word, pin in pins if pin is not None and pin.digest == metrics.digest]
    return name if not found or name in (PINNED, NEWLY) else f"{name}, {found[0]}"


def _paired(side: Side, subject: Subject) -> str:
    """What the images that both sides answered say, and how many others there are."""
    lost, gained, images = side.answers.counts
    if not images:
        return f"Against {side.called}: no image that both answered{_alone(side)}."
    low, high = (signed(100 * bound, 1) for bound in paired.interval(lost, gained, images))
    top1 = signed(100 * paired.difference(lost, gained, images), 1)
    caveat = ""
    if side.evidence.data.digest != subject.now.data.digest:
        caveat = " The data have changed; an image counts as the same by its name and class."
    return (
        f"Against {side.called}, on the {count(images, 'image')} that both answered: {lost:,} lost, "
        f"{gained:,} gained; top-1 {top1} points (95 % interval {low} to {high}), "
        f"{chance(paired.probability(lost, gained))} in McNemar's exact test{_alone(side)}.{caveat}"
    )


def _alone(side: Side) -> str:
    """How many images only one side was asked about."""
    numbers = ((side.answers.only_now, "now"), (side.answers.only_before, side.name))
    alone = [f"{count(number, 'image')} only {where}" for number, where in numbers if number]
    return f"; {' and '.join(alone)}" if alone else ""
