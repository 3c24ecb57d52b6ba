"""The README's bar chart: requests per second of each contender, and its memory under that load."""

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.documents import ROOT
from benchmarks.serving.contenders import OURS
from benchmarks.serving.statistics import Row, rate

CHART = ROOT / "docs/bench.png"
# A white background suits pages with a light and with a dark theme.
OWN_COLOUR, OTHER_COLOUR, INK = "#d4691e", "#8fa3b8", "#1f2328"
# The PNG text chunk that holds the hash of the drawn figures.
HASH_KEY = "Numbers"


def draw(path: Path, run: dict[str, Any]) -> None:
    """Draws two rows of bars as PNG; the same results give the same bytes."""
    matplotlib.use("Agg")
    rows = sorted(_measured(run), key=rate)
    figure = Figure(figsize=(10, 0.42 * len(rows) + 1.1), dpi=100, layout="constrained", facecolor="white")
    rates, memory = figure.subplots(1, 2, sharey=True)
    _draw_bars(rates, rows, [rate(row) for row in rows], "requests/s with 8 clients")
    _draw_bars(memory, rows, [row["load_mb"] for row in rows], "memory under load, MB")
    # `Software` would hold the version of matplotlib.
    figure.savefig(path, format="png", metadata={"Software": None, HASH_KEY: figures_hash(run)})


def figures_hash(run: dict[str, Any]) -> str:
    """A hash of the drawn figures, stored in the PNG so that a test detects an outdated chart."""
    drawn = [(row["name"], rate(row), row["load_mb"]) for row in _measured(run)]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def _measured(run: dict[str, Any]) -> list[Row]:
    return [row for row in run["contenders"] if "failed" not in row]


def _draw_bars(axes: Axes, rows: list[Row], values: list[float], title: str) -> None:
    names = [row["name"] for row in rows]
    colours = [OWN_COLOUR if row["kind"] == OURS else OTHER_COLOUR for row in rows]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=4, color=INK)
    axes.set_title(title, color=INK, fontsize=12)
    axes.tick_params(left=False, bottom=False, labelbottom=False, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlim(0, 1.15 * max(values))
