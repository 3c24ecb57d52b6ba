"""What the sweep found, as the manual shows it. Pure."""

from collections.abc import Sequence
from typing import Any

from benchmarks.serving.counts import counted
from benchmarks.serving.figures import Row
from benchmarks.serving.tables import circumstances, load

HEADER = (
    "| cores | processes | slots of each | threads in each prediction "
    "| requests/s | p50, p99 | memory | idle |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)
# Of the most requests per second. A smaller difference may be that of two rounds.
ENOUGH = 0.95


def table(run: dict[str, Any]) -> str:
    """Every combination, what they say together, and what the figures are worth."""
    rows = run["counts"]
    lines = [HEADER, *map(_row, rows), ""]
    lines += [f"- {_of_cores(cores, rows)}" for cores in sorted({row["cores"] for row in rows})]
    if errors := sum(row["errors"] for row in rows):
        lines.append(f"- {errors:,} requests failed.")
    return "\n".join([*lines, "", _conditions(run)]) + "\n"


def _row(row: Row) -> str:
    counts = f"{row['cores']} | {row['processes']} | {row['slots']} | {row['threads']}"
    return f"| {counts} | {load(row)} | {100 * row['idle']:.0f} % |"


def _of_cores(cores: int, rows: Sequence[Row]) -> str:
    """How many slots are enough there, and what a second process or a second thread changes."""
    plain = _measured(rows, cores, processes=1, threads=1)
    best = _best(plain)
    enough = min(row["slots"] for row in plain if row["rate"] >= ENOUGH * best["rate"])
    said = [
        f"On {counted(cores, 'core')}, one process with one thread in each prediction gives most with "
        f"{counted(best['slots'], 'slot')}, and {100 * ENOUGH:.0f} % of that with {enough}."
    ]
    if doubled := _measured(rows, cores, processes=2, threads=1):
        other = _best(doubled)
        requests, memory = _part(other, best, "rate"), _part(other, best, "load_mb")
        said.append(f"Two processes give at best {requests} of it, in {memory} of the memory.")
    if threaded := _measured(rows, cores, processes=1, threads=2):
        said.append(f"Two threads in each prediction give at best {_part(_best(threaded), best, 'rate')}.")
    return " ".join(said)


def _measured(rows: Sequence[Row], cores: int, processes: int, threads: int) -> list[Row]:
    wanted = (cores, processes, threads)
    return [row for row in rows if (row["cores"], row["processes"], row["threads"]) == wanted]


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: float(row["rate"]))


def _part(row: Row, whole: Row, figure: str) -> str:
    return f"{100 * row[figure] / whole[figure]:.0f} %"


def _conditions(run: dict[str, Any]) -> str:
    """What one must know to read the figures."""
    return (
        f"{circumstances(run)} {run['clients']} clients, {run['bundle']['precision']}. Memory is PSS of all "
        "processes; idle is what the server's cores had left, with the load generator at work on them too."
    )
