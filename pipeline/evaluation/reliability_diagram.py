"""Reliability diagrams: how often predictions of similar confidence are right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.evaluation.metrics import CalibrationBin, wilson_interval
from pipeline.evaluation.plotting import png_figure

SERVED_COLOUR, UNCALIBRATED_COLOUR, DIAGONAL_COLOUR = "#0969da", "#bc4c00", "#57606a"
SIDE = 4.6


@dataclass(frozen=True)
class ReliabilityCurve:
    """The bins of predictions whose logits were divided by a temperature, None if none was fitted."""

    temperature: float | None
    bins: Sequence[CalibrationBin]


def draw_reliability(path: Path, title: str, curves: Sequence[ReliabilityCurve]) -> None:
    """Draws the curves as PNG: that of the served probabilities, and before it any uncalibrated one."""
    with png_figure(path, (SIDE, SIDE)) as figure:
        draw_curves(figure.subplots(), title, curves)


def draw_curves(axes: Axes, title: str, curves: Sequence[ReliabilityCurve]) -> None:
    """Draws the curves; the last one is of the served probabilities, and has 95 % intervals."""
    axes.plot(
        [0, 1], [0, 1], linestyle="--", color=DIAGONAL_COLOUR, linewidth=1, label="perfectly calibrated"
    )
    for number, curve in enumerate(curves):
        served = number == len(curves) - 1
        confidences = [entry.confidence for entry in curve.bins]
        accuracies = [entry.accuracy for entry in curve.bins]
        bounds = [wilson_interval(round(entry.accuracy * entry.images), entry.images) for entry in curve.bins]
        # Rounding in CSV files may put an accuracy just outside its interval.
        spread = [
            [max(0.0, accuracy - low) for accuracy, (low, _) in zip(accuracies, bounds, strict=True)],
            [max(0.0, high - accuracy) for accuracy, (_, high) in zip(accuracies, bounds, strict=True)],
        ]
        axes.errorbar(
            confidences,
            accuracies,
            yerr=spread if served else None,
            marker="o",
            markersize=4,
            linewidth=1.5,
            elinewidth=0.8,
            color=SERVED_COLOUR if served else UNCALIBRATED_COLOUR,
            label=_label(curve.temperature),
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    # parse_math: a model may be called "$x$".
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.legend(fontsize=8, loc="lower right", frameon=False)


def _label(temperature: float | None) -> str:
    return "without a temperature" if temperature is None else f"temperature {temperature:g}"
