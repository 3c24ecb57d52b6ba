"""Drift in the model card: as JSON, and as the panel of the page."""

from dataclasses import dataclass

from flask import g

from serving.api.drift_charts import ClassRow, HistogramChart, class_rows, histogram_chart
from serving.api.response_schemas import Drift, Shift
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.drift.monitor import MIN_ANSWERS, Distribution, DriftMonitor, Summary

# Title of each distribution, unit of its axis, and what a shift may mean.
TITLES = {
    "class": ("Classes", "", "Other things are on the images, or the same in another mixture."),
    "confidence": ("Confidence", "", "Images are harder or easier than the validation images."),
    "energy": ("Energy", "", "Low energies: images are unlike those that the model has learned."),
    "brightness": ("Brightness", "", "Another light, camera or preprocessing; 0 is black and 1 white."),
    "size": ("Size of the files", " px", "Another camera or scaling; the square root of width times height."),
}


@dataclass(frozen=True)
class Block:
    """One distribution on the page: `rows` of classes, or a `chart`, if there are enough answers."""

    name: str
    title: str
    meaning: str
    verdict: str
    shifted: bool
    entry: Distribution
    chart: HistogramChart | None
    rows: list[ClassRow]


@dataclass(frozen=True)
class Panel:
    """The whole panel. `verdict` and `unfamiliar_verdict` are words for the page."""

    summary: Summary
    needed: int
    calibrated: bool
    has_threshold: bool
    test_accuracy: float | None
    unfamiliar_verdict: str
    blocks: list[Block]


def public_monitor(service: Service) -> DriftMonitor | None:
    """The monitor that `/model` may show: none if the metrics have a port of their own, which is not public.

    Otherwise who asks before and after another client's request could tell what that was classified as.
    """
    model: ServedModel = g.model
    return None if service.settings.metrics_port else model.drift


def describe_drift(service: Service) -> Drift | None:
    """The member `drift` of the model card."""
    monitor = public_monitor(service)
    if monitor is None:
        return None
    summary = monitor.summary()
    unfamiliar = summary.unfamiliar
    return Drift(
        answers=summary.answers,
        needed=MIN_ANSWERS,
        estimated_accuracy=summary.estimated_accuracy,
        unfamiliar_share=unfamiliar.share if unfamiliar else None,
        unfamiliar_share_usual=unfamiliar.usual if unfamiliar else None,
        distributions={
            entry.name: Shift(entry.answered, entry.shift, entry.usual) for entry in summary.distributions
        },
    )


def drift_panel(service: Service) -> Panel | None:
    """What the page shows; None if there is nothing to show."""
    monitor = public_monitor(service)
    if monitor is None:
        return None
    summary, labels = monitor.summary(), [label.name for label in g.model.labels]
    unfamiliar = summary.unfamiliar
    return Panel(
        summary=summary,
        needed=MIN_ANSWERS,
        calibrated=monitor.confidence.temperature is not None,
        has_threshold=monitor.confidence.energy is not None,
        test_accuracy=monitor.test_accuracy,
        unfamiliar_verdict=_verdict(unfamiliar.share, unfamiliar.usual) if unfamiliar else "",
        blocks=[_block(entry, labels) for entry in summary.distributions],
    )


def _block(entry: Distribution, labels: list[str]) -> Block:
    title, unit, meaning = TITLES[entry.name]
    shifted = entry.shift is not None and entry.usual is not None and entry.shift > entry.usual
    return Block(
        entry.name,
        title,
        meaning,
        _verdict(entry.shift, entry.usual) or f"Not enough answers yet: {entry.answered} of {MIN_ANSWERS}",
        shifted,
        entry,
        # Not before there are enough: with one answer more they would show what that was.
        histogram_chart(entry, entry.edges, unit) if entry.edges and entry.shift is not None else None,
        class_rows(entry, labels) if not entry.edges and entry.shift is not None else [],
    )


def _verdict(found: float | None, usual: float | None) -> str:
    if found is None or usual is None:
        return ""
    return "More than usual" if found > usual else "As usual"
