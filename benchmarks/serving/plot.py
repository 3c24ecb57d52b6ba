"""The README's picture: requests per second of each contender, and the memory that it takes for them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.contender import OURS
from benchmarks.serving.figures import Row, rate

# On white, whatever the page is: figures on a dark page would need other colours than on a light one.
OWN, OTHER, INK = "#d4691e", "#8fa3b8", "#1f2328"
NUMBERS = "Numbers"


def draw(path: Path, run: dict[str, Any]) -> None:
    """Draws two rows of bars as PNG; the same results give the same bytes."""
    matplotlib.use("Agg")
    rows = [row for row in run["contenders"] if "failed" not in row]
    rows.sort(key=rate)
    figure = Figure(figsize=(10, 0.42 * len(rows) + 1.1), dpi=100, layout="constrained", facecolor="white")
    rates, memory = figure.subplots(1, 2, sharey=True)
    _bars(rates, rows, [rate(row) for row in rows], "requests/s with 8 clients")
    _bars(memory, rows, [row["load_mb"] for row in rows], "memory under load, MB")
    # The version of matplotlib would otherwise be written into the file.
    figure.savefig(path, format="png", metadata={"Software": None, NUMBERS: numbers(run)})


def numbers(run: dict[str, Any]) -> str:
    """Stands for what is drawn; it is written into the file, so that a stale picture can be told."""
    drawn = [(row["name"], rate(row), row["load_mb"]) for row in run["contenders"] if "failed" not in row]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def _bars(axes: Axes, rows: list[Row], values: list[float], title: str) -> None:
    names = [row["name"] for row in rows]
    colours = [OWN if row["kind"] == OURS else OTHER for row in rows]
    drawn = axes.barh(names, values, color=colours)
    axes.bar_label(drawn, labels=[f"{value:,.0f}" for value in values], padding=4, color=INK)
    axes.set_title(title, color=INK, fontsize=12)
    axes.tick_params(left=False, bottom=False, labelbottom=False, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlim(0, 1.15 * max(values))
