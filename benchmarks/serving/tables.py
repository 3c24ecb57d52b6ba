"""Markdown tables of a run, for README.md and docs/performance.md. Pure."""

from typing import Any

from benchmarks.documents import markdown_table
from benchmarks.serving.contenders import LIMIT, OURS, TUTORIAL
from benchmarks.serving.statistics import CLIENTS, Row, compare_with_targets, measured_rows, rate
from benchmarks.targets import target_table

Cells = tuple[object, ...]


def contender_table(run: dict[str, Any]) -> str:
    """The README's section: the contenders, failures, conditions, and targets."""
    rows = run["contenders"]
    cells = [_contender_cells(row, rows) for row in rows]
    return (
        f"{markdown_table(['', *_columns(run)], cells)}\n{_failures(rows)}"
        f"{conditions(run)} The others share one ONNX file (float32) and our way to decode, and are set "
        "up as their documentation recommends for two cores, [each in its folder](benchmarks/serving/peers). "
        f"Memory is PSS of all processes.\n\n{target_table(compare_with_targets(rows))}"
        f"{_limit_against_tutorial(rows)}"
    )


def small_model_table(run: dict[str, Any]) -> str:
    """The section of docs/performance.md about a small model: the contenders, failures and conditions."""
    rows = run["contenders"]
    cells = []
    for row in rows:
        name, *figures = _contender_cells(row, rows)
        cells.append((name, row["setup"], *figures))
    table = markdown_table(["", "set up with", *_columns(run)], cells)
    return (
        f"{table}\n{_failures(rows)}{conditions(run)} The others share one ONNX file (float32) and our way "
        "to decode. Memory is PSS of all processes.\n"
    )


def _columns(run: dict[str, Any]) -> list[str]:
    """What `_contender_cells` gives after the name."""
    columns = ["requests/s with 1, 8, 64 clients", "p50, p99 with 8", "memory idle, loaded"]
    return [*columns, "first right answer", f"top-1 of {run['photos']['asked']}", "of the limit"]


def _contender_cells(row: Row, rows: list[Row]) -> Cells:
    name = f"**{row['name']}**" if row["kind"] == OURS else row["name"]
    if "failed" in row:
        return (name, "not measured, see below", *[""] * 5)
    if row["kind"] == LIMIT:
        return (name, f"{rate(row):.0f}", "", _megabytes(row), "", "", "100 %")
    rates = ", ".join(f"{load['rate']:.0f}" for load in row["clients"].values())
    latency, memory = _latency(row["clients"][CLIENTS]), f"{row['idle_mb']:,.0f}, {_megabytes(row)}"
    limits = measured_rows(rows, LIMIT, row["precision"]) or measured_rows(rows, LIMIT)
    share = f"{100 * rate(row) / rate(limits[0]):.0f} %" if limits else ""
    start = f"{row['start_seconds']:.1f} s"
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


def conditions(run: dict[str, Any]) -> str:
    """Date, commit, machine, rounds and photos of a run."""
    machine, photos = run["machine"], run["photos"]
    return (
        f"{run['date']}, commit {run['commit']}, {machine['cpu']}, {machine['cores']:g} cores that the load "
        f"generator ({machine['load_generator']}) shares; medians of {run['rounds']} shuffled rounds of "
        f"{run['seconds']:g} s. {photos['sent']} {photos.get('format', 'JPEG')}s of "
        f"{photos['mean_bytes'] / 1000:.0f} kB on average, "
        "in turn."
    )


def quick_summary(run: dict[str, Any]) -> str:
    """The README's sentence about the last quick run."""
    rows = [row for kind in (OURS, LIMIT, TUTORIAL) for row in measured_rows(run["contenders"], kind)]
    rates = ", ".join(f"{row['name']} {rate(row):.0f}" for row in rows)
    return f"The last quick one, of {run['date']}, at 8 clients, in requests/s: {rates}.\n"


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
    return (f"{row['rate']:.0f}", _latency(row), _megabytes(row))


def _latency(load: Row) -> str:
    return f"{load['p50_ms']:.0f}, {load['p99_ms']:.0f} ms"


def _megabytes(row: Row) -> str:
    return f"{row['load_mb']:,.0f} MB"
