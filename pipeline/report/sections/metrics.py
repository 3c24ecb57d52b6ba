"""The section with the metrics of the model and its references."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.markdown import details, table
from pipeline.report.differences import accuracy_change, accuracy_change_interval
from pipeline.report.formatting import (
    count,
    p_value,
    percent,
    percent_with_interval,
    points,
    signed,
    signed_with_arrow,
)
from pipeline.report.model_comparison import NEWLY_PINNED, PINNED, ModelComparison, Reference
from pipeline.report.results import Metrics
from serving.artifact.confidence import LEVELS


@dataclass(frozen=True)
class MetricRow:
    """A row of the table. `as_percent` values are shown as percentages, others with four decimals."""

    title: str
    value: Callable[[Metrics], float | None]
    interval: Callable[[Metrics], tuple[float, float] | None] = lambda metrics: None
    as_percent: bool = False

    def text(self, metrics: Metrics) -> str:
        value, interval = self.value(metrics), self.interval(metrics)
        if value is None:
            return ""
        if interval is not None:
            return percent_with_interval(value, interval)
        return percent(value) if self.as_percent else f"{value:.4f}"

    def difference(self, now: Metrics, before: Metrics) -> str:
        new, old = self.value(now), self.value(before)
        if new is None or old is None:
            return ""
        return points(new - old) if self.as_percent else signed_with_arrow(new - old, 4)


ROWS = (
    MetricRow("top-1", lambda metrics: metrics.top1, lambda metrics: metrics.top1_interval, as_percent=True),
    MetricRow("top-5", lambda metrics: metrics.top5, lambda metrics: metrics.top5_interval, as_percent=True),
    MetricRow(
        "top-1 of always answering the commonest class",
        lambda metrics: metrics.majority.share if metrics.majority else None,
        as_percent=True,
    ),
    MetricRow("precision, mean of classes", lambda metrics: metrics.precision_macro),
    MetricRow("recall, mean of classes", lambda metrics: metrics.recall_macro),
    MetricRow("F1, mean of classes", lambda metrics: metrics.f1_macro),
    MetricRow("calibration error, less is better", lambda metrics: metrics.calibration_error),
    MetricRow("the same without the temperature", lambda metrics: _uncalibrated_error(metrics)),
    *(
        MetricRow(
            f"coverage of label sets of {level:.0%}",
            lambda metrics, level=level: _coverage(metrics, level),  # type: ignore[misc]
            as_percent=True,
        )
        for level in LEVELS
    ),
    MetricRow("AUROC of foreign images", lambda metrics: _foreign_auroc(metrics)),
)


def _uncalibrated_error(metrics: Metrics) -> float | None:
    """None without a temperature, or at 1, where it is the calibration error itself."""
    confidence = metrics.confidence
    scaled = confidence is not None and confidence.temperature not in (None, 1)
    return confidence.uncalibrated_error.value if confidence and scaled else None


def _coverage(metrics: Metrics, level: float) -> float | None:
    """The coverage of the label set with this level, if there is one."""
    sets = metrics.confidence.label_sets if metrics.confidence else []
    return next((entry.coverage for entry in sets if entry.level == level), None)


def _foreign_auroc(metrics: Metrics) -> float | None:
    foreign = metrics.confidence.foreign if metrics.confidence else None
    return foreign.auroc if foreign else None


def metrics_section(comparison: ModelComparison, reliability: str = "") -> str:
    """The metrics of the model and of each reference that differs, and the paired test on common images.

    `reliability` is the image link of the reliability diagrams, which are collapsed.
    """
    now = comparison.current.metrics
    if not now.evaluated:
        return "Not evaluated: there are no labelled photos of this model.\n"
    references = [reference for reference in comparison.references if not reference.same]
    measured = [now, *(reference.results.metrics for reference in references)]
    rows = [row for row in ROWS if any(row.text(metrics) for metrics in measured)]
    header = [f"on {count(now.images, 'held-out image')}", _column("now", now, comparison)]
    cells = [[row.title, row.text(now)] for row in rows]
    for reference, before in zip(references, measured[1:], strict=True):
        header += [_column(reference.name, before, comparison), "difference"]
        for row, line in zip(rows, cells, strict=True):
            line += [row.text(before), row.difference(now, before)]
    tests = [f"{_paired_test(reference, comparison)}\n" for reference in references]
    collapsed = [details("Reliability diagram", reliability)] if reliability else []
    return "\n".join([table(header, cells, numeric=True), *tests, *collapsed])


def _column(name: str, metrics: Metrics, comparison: ModelComparison) -> str:
    """The heading of a column, which also states whether this version is pinned."""
    pins = ((PINNED, comparison.base_pin or comparison.pin), (NEWLY_PINNED, comparison.pin))
    states = [state for state, pin in pins if pin is not None and pin.digest == metrics.digest]
    return name if not states or name in (PINNED, NEWLY_PINNED) else f"{name}, {states[0]}"


def _paired_test(reference: Reference, comparison: ModelComparison) -> str:
    name, paired = reference.phrase, reference.paired
    lost, gained, images = paired.counts
    if not images:
        return f"Against {name}: no image that both were tested on{_unpaired(reference)}."
    low, high = (signed(100 * bound, 1) for bound in accuracy_change_interval(lost, gained, images))
    caveat = ""
    if reference.results.data.digest != comparison.current.data.digest:
        caveat = " The data have changed; images are matched by name and class."
    change = signed(100 * accuracy_change(lost, gained, images), 1)
    return (
        f"Against {name}, on the {count(images, 'image')} that both were tested on: {lost:,} lost, "
        f"{gained:,} gained; top-1 {change} points (95 % interval {low} to {high}), "
        f"{p_value(paired.p_value)} in McNemar's exact test{_unpaired(reference)}.{caveat}"
    )


def _unpaired(reference: Reference) -> str:
    """How many images only one of the two models has predictions for."""
    numbers = ((reference.paired.only_now, "now"), (reference.paired.only_before, reference.name))
    texts = [f"{count(number, 'image')} only {where}" for number, where in numbers if number]
    return f"; {' and '.join(texts)}" if texts else ""
