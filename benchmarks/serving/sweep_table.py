"""The section of docs/performance.md about the sweep. Pure."""

from collections.abc import Sequence
from typing import Any

from benchmarks.documents import markdown_table
from benchmarks.serving.statistics import Row
from benchmarks.serving.tables import conditions, load_cells

COLUMNS = ["cores", "processes", "slots of each", "threads in each prediction"]
COLUMNS += ["requests/s", "p50, p99", "memory", "idle"]
# A share of the highest rate. Two rounds of the same combination may differ by as much.
ENOUGH = 0.95


def table(run: dict[str, Any]) -> str:
    """Every combination, the conclusions, and the conditions."""
    rows, keys = run["counts"], ("cores", "processes", "slots", "threads")
    cells = [(*(row[key] for key in keys), *load_cells(row), f"{100 * row['idle']:.0f} %") for row in rows]
    conclusions = "".join(
        f"- {_conclusion(cores, rows)}\n" for cores in sorted({row["cores"] for row in rows})
    )
    if errors := sum(row["errors"] for row in rows):
        conclusions += f"- {errors:,} requests failed.\n"
    return (
        f"{markdown_table(COLUMNS, cells)}\n{conclusions}\n"
        f"{conditions(run)} {run['clients']} clients, {run['bundle']['precision']}. Memory is PSS of all "
        f"processes; idle is what the server's cores had left{_with_load_generator(run)}.\n"
    )


def _with_load_generator(run: dict[str, Any]) -> str:
    pinned = run["machine"].get("pinned", {})
    return "" if pinned.get("generator") else ", with the load generator at work on them too"


def _conclusion(cores: int, rows: Sequence[Row]) -> str:
    """How many slots are enough on so many cores, and what a second process or a second thread changes."""
    plain = _select(rows, cores, processes=1, threads=1)
    best = _best(plain)
    enough = min(row["slots"] for row in plain if row["rate"] >= ENOUGH * best["rate"])
    sentences = [
        f"On {_plural(cores, 'core')}, one process with one thread in each prediction gives most with "
        f"{_plural(best['slots'], 'slot')}, and {100 * ENOUGH:.0f} % of that with {enough}."
    ]
    if doubled := _select(rows, cores, processes=2, threads=1):
        other = _best(doubled)
        requests, memory = _share(other, best, "rate"), _share(other, best, "load_mb")
        sentences.append(f"Two processes give at best {requests} of it, in {memory} of the memory.")
    if threaded := _select(rows, cores, processes=1, threads=2):
        requests = _share(_best(threaded), best, "rate")
        sentences.append(f"Two threads in each prediction give at best {requests}.")
    return " ".join(sentences)


def _select(rows: Sequence[Row], cores: int, processes: int, threads: int) -> list[Row]:
    wanted = (cores, processes, threads)
    return [row for row in rows if (row["cores"], row["processes"], row["threads"]) == wanted]


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: float(row["rate"]))


def _share(row: Row, whole: Row, figure: str) -> str:
    return f"{100 * row[figure] / whole[figure]:.0f} %"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
