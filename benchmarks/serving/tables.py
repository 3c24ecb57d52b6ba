"""Markdown tables of a run, for README.md and docs/performance.md. Pure."""

from collections.abc import Sequence
from typing import Any

from benchmarks.documents import markdown_table
from benchmarks.interference import disturbed_names
from benchmarks.serving.contenders import LIMIT, OURS, PEER, TUTORIAL
from benchmarks.serving.statistics import (
    CLIENTS,
    Row,
    compare_small_model,
    compare_with_targets,
    compared_load,
    measured_rows,
    rate,
    run_interference,
)
from benchmarks.targets import target_table

Cells = tuple[object, ...]
# Marks rows that are not to be trusted.
DAGGER = "†"


def contender_table(run: dict[str, Any]) -> str:
    """The README's section: the contenders, failures, conditions, and targets."""
    rows, disturbed = run["contenders"], disturbed_names(run_interference(run))
    cells = [_contender_cells(row, rows, disturbed) for row in rows]
    return (
        f"{markdown_table(['', *_columns(run)], cells)}\n{_failures(rows)}{_disturbance(disturbed)}"
        f"{conditions(run)} The others share one ONNX file (float32) and our way to decode, and are set "
        "up as their documentation recommends for two cores, [each in its folder](benchmarks/serving/peers). "
        f"Memory is PSS of all processes.\n\n{target_table(compare_with_targets(rows))}"
        f"{_limit_against_tutorial(rows)}"
    )


def small_model_table(run: dict[str, Any]) -> str:
    """The section of docs/performance.md about a small model: contenders, failures, conditions and target."""
    rows, disturbed = run["contenders"], disturbed_names(run_interference(run))
    cells = []
    for row in rows:
        name, *figures = _contender_cells(row, rows, disturbed)
        cells.append((name, row["setup"], *figures))
    table = markdown_table(["", "set up with", *_columns(run)], cells)
    return (
        f"{table}\n{_failures(rows)}{_disturbance(disturbed)}{conditions(run)} The others share one ONNX "
        "file (float32) and our way to decode. Memory is PSS of all processes.\n\n"
        f"{target_table(compare_small_model(rows))}{_limit_against_others(rows)}"
    )


def _columns(run: dict[str, Any]) -> list[str]:
    """What `_contender_cells` gives after the name."""
    columns = ["requests/s with 1, 8, 64 clients", "p50, p99 with 8", "memory idle, loaded"]
    return [*columns, "first right answer", f"top-1 of {run['photos']['asked']}", "of the limit"]


def _contender_cells(row: Row, rows: list[Row], disturbed: Sequence[str]) -> Cells:
    name = f"**{row['name']}**" if row["kind"] == OURS else row["name"]
    name += f" {DAGGER}" if row["name"] in disturbed else ""
    if "failed" in row:
        return (name, "not measured, see below", *[""] * 5)
    if row["kind"] == LIMIT:
        return (name, _with_spread(row["clients"]["0"], "rate"), "", _megabytes(row), "", "", "100 %")
    rates = ", ".join(_with_spread(load, "rate") for load in row["clients"].values())
    latency, memory = _latency(row["clients"][CLIENTS]), f"{_with_spread(row, 'idle_mb')}, {_megabytes(row)}"
    limits = measured_rows(rows, LIMIT, row["precision"]) or measured_rows(rows, LIMIT)
    share = f"{100 * rate(row) / rate(limits[0]):.0f} %" if limits else ""
    start = f"{_with_spread(row, 'start_seconds', 1)} s"
    return (name, rates, latency, memory, start, row["answers"]["right"], share)


def _failures(rows: list[Row]) -> str:
    """Why contenders were not measured, and how many requests failed."""
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append(f"- {row['name']} was not measured: {row['failed']}\n")
        elif errors := sum(load["errors"] for load in row["clients"].values()):
            lines.append(f"- {row['name']}: {errors:,} requests failed.\n")
    return "".join([*lines, "\n"]) if lines else ""


def _disturbance(disturbed: Sequence[str]) -> str:
    """Which figures are not to be trusted."""
    if not disturbed:
        return ""
    names = ", ".join(disturbed)
    return f"{DAGGER} Others used the cores meanwhile, so these are not to be trusted: {names}.\n\n"


def _limit_against_tutorial(rows: list[Row]) -> str:
    """The largest possible ratio to the tutorial's app, with no server at all."""
    limits, apps = measured_rows(rows, LIMIT), measured_rows(rows, TUTORIAL)
    if not limits or not apps:
        return ""
    times, part = rate(limits[0]) / rate(apps[0]), apps[0]["load_mb"] / limits[0]["load_mb"]
    return (
        f"\nThe bare limit, without a server, is {times:.0f} times the tutorial's app, in 1/{part:.0f} of "
        "its memory. What the server's time goes into, and what was tried, is in "
        "[docs/performance.md](docs/performance.md#where-the-time-goes).\n"
    )


def _limit_against_others(rows: list[Row]) -> str:
    """The largest possible ratio to the best of the others, with no server at all."""
    limits, peers = measured_rows(rows, LIMIT), measured_rows(rows, PEER)
    if not limits or not peers:
        return ""
    best = max(peers, key=rate)
    return (
        f"\nThe bare limit, without a server, is {rate(limits[0]) / rate(best):.2f} times {best['name']}.\n"
    )


def conditions(run: dict[str, Any]) -> str:
    """Date, commit, machine, rounds and photos of a run."""
    photos = run["photos"]
    return (
        f"{run['date']}, commit {run['commit']}, {_machine(run['machine'])}; medians of {run['rounds']} "
        f"shuffled rounds of {run['seconds']:g} s{_guard(run)}. {photos['sent']} "
        f"{photos.get('format', 'JPEG')}s of {photos['mean_bytes'] / 1000:.0f} kB on average, in turn."
    )


def _machine(machine: dict[str, Any]) -> str:
    """The processor, and which of its cores the load generator has."""
    pinned, generator = machine.get("pinned", {}), machine["load_generator"]
    cores = f"{machine['cpu']}, {machine['cores']:g} cores"
    if not pinned.get("generator"):
        return f"{cores} that the load generator ({generator}) shares"
    own, others = len(pinned["generator"]), len(pinned["contender"])
    return f"{cores}, of which the load generator ({generator}) has {own} for itself and each server {others}"


def _guard(run: dict[str, Any]) -> str:
    """What ± means and what was tolerated; nothing for results from before that was measured."""
    if "tolerated" not in run:
        return ""
    spread = ", ± the largest deviation of a round from its median" if run["rounds"] > 1 else ""
    repeated = f"starts and loads are repeated if others take more than {run['tolerated']:.0%} of the cores"
    return f"{spread}; {repeated}"


def quick_summary(run: dict[str, Any]) -> str:
    """The README's sentence about the last quick run."""
    rows = [row for kind in (OURS, LIMIT, TUTORIAL) for row in measured_rows(run["contenders"], kind)]
    rates = ", ".join(f"{row['name']} {_with_spread(compared_load(row), 'rate')}" for row in rows)
    where = f"{run['date']}, {run['machine']['cpu']}"
    return f"The last quick one ({where}), at 8 clients, in requests/s: {rates}.\n"


def scaling_tables(run: dict[str, Any]) -> str:
    """The section of docs/performance.md: scaling with clients, photo sizes and threads."""
    measured, load_columns = run["growth"], ("p50, p99", "memory")
    clients = markdown_table(
        ["clients", "queue", "answers/s", *load_columns, "refused"],
        [
            (row["clients"], row["queue"], *load_cells(row), f"{row['errors']:,}")
            for row in measured["clients"]
        ],
    )
    photos = markdown_table(
        ["photo", "bytes", "requests/s", *load_columns],
        [
            (f"{row['width']} x {row['height']}", f"{row['bytes'] / 1000:,.0f} kB", *load_cells(row))
            for row in measured["photos"]
        ],
    )
    loops = markdown_table(
        ["threads in a bare loop", "threads in each prediction", "photos/s", "p50"],
        [
            (row["threads"], row["inner"], f"{row['rate']:.0f}", f"{row['p50_ms']:.1f} ms")
            for row in measured["loops"]
        ],
    )
    return "\n".join([clients, photos, loops])


def load_cells(row: Row) -> Cells:
    """Requests per second, latency, memory."""
    return (_with_spread(row, "rate"), _latency(row), _megabytes(row))


def _latency(load: Row) -> str:
    return f"{_with_spread(load, 'p50_ms')}, {_with_spread(load, 'p99_ms')} ms"


def _megabytes(row: Row) -> str:
    return f"{_with_spread(row, 'load_mb')} MB"


def _with_spread(row: Row, figure: str, digits: int = 0) -> str:
    """A median, and how far a round was from it if there were several."""
    spread = row.get("deviations", {}).get(figure)
    return f"{row[figure]:,.{digits}f}" + ("" if spread is None else f" ±{spread:,.{digits}f}")
