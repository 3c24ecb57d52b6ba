"""Markdown tables of a run, for README.md and docs/performance.md. Pure."""

from typing import Any

from benchmarks import targets
from benchmarks.serving.contenders import LIMIT, OURS, TUTORIAL
from benchmarks.serving.statistics import CLIENTS, Row, compare_with_targets, measured_rows, rate

HEADER = (
    "| | requests/s with 1, 8, 64 clients | p50, p99 with 8 | memory idle, loaded | first right answer "
    "| top-1 of {asked} | of the limit |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def contender_table(run: dict[str, Any]) -> str:
    """The README's section: the contenders, failures, conditions, and targets."""
    rows = run["contenders"]
    lines = [
        HEADER.format(asked=run["photos"]["asked"]),
        *(_contender_row(row, rows) for row in rows),
        "",
        *_failures(rows),
        f"{conditions(run)} The others share one ONNX file (float32) and our way to decode, and are set "
        "up as their documentation recommends for two cores, [each in its folder](benchmarks/serving/peers). "
        "Memory is PSS of all processes.",
        "",
        *targets.table(compare_with_targets(rows)),
        *_limit_against_tutorial(rows),
    ]
    return "\n".join(lines) + "\n"


def _contender_row(row: Row, rows: list[Row]) -> str:
    name = f"**{row['name']}**" if row["kind"] == OURS else row["name"]
    if "failed" in row:
        return f"| {name} | not measured, see below | | | | | |"
    if row["kind"] == LIMIT:
        return f"| {name} | {rate(row):.0f} | | {_megabytes(row['load_mb'])} | | | 100 % |"
    rates = ", ".join(f"{load['rate']:.0f}" for load in row["clients"].values())
    memory = f"{row['idle_mb']:,.0f}, {_megabytes(row['load_mb'])}"
    limits = measured_rows(rows, LIMIT, row["precision"]) or measured_rows(rows, LIMIT)
    share = f"{100 * rate(row) / rate(limits[0]):.0f} %" if limits else ""
    return (
        f"| {name} | {rates} | {_latency(row['clients'][CLIENTS])} | {memory} "
        f"| {row['start_seconds']:.1f} s | {row['answers']['right']} | {share} |"
    )


def _failures(rows: list[Row]) -> list[str]:
    """Why contenders were not measured, and how many requests failed."""
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append(f"- {row['name']} was not measured: {row['failed']}")
        elif errors := sum(load["errors"] for load in row["clients"].values()):
            lines.append(f"- {row['name']}: {errors:,} requests failed.")
    return [*lines, ""] if lines else []


def _limit_against_tutorial(rows: list[Row]) -> list[str]:
    """The largest possible ratio to the tutorial's app, with no server at all."""
    limits, apps = measured_rows(rows, LIMIT), measured_rows(rows, TUTORIAL)
    if not limits or not apps:
        return []
    times, part = rate(limits[0]) / rate(apps[0]), apps[0]["load_mb"] / limits[0]["load_mb"]
    return [
        "",
        f"The bare limit, without a server, is {times:.0f} times the tutorial's app, in 1/{part:.0f} of its "
        "memory. What the server's time goes into, and what was tried, is in "
        "[docs/performance.md](docs/performance.md#where-the-time-goes).",
    ]


def conditions(run: dict[str, Any]) -> str:
    """Date, commit, machine, rounds and photos of a run."""
    machine, photos = run["machine"], run["photos"]
    return (
        f"{run['date']}, commit {run['commit']}, {machine['cpu']}, {machine['cores']:g} cores that the load "
        f"generator ({machine['load_generator']}) shares; medians of {run['rounds']} shuffled rounds of "
        f"{run['seconds']:g} s. {photos['sent']} JPEGs of {photos['mean_bytes'] / 1000:.0f} kB on average, "
        "in turn."
    )


def quick_summary(run: dict[str, Any]) -> str:
    """The README's sentence about the last quick run."""
    rows = run["contenders"]
    rates = [
        f"{row['name']} {rate(row):.0f}"
        for kind in (OURS, LIMIT, TUTORIAL)
        for row in measured_rows(rows, kind)
    ]
    return f"The last quick one, of {run['date']}, at 8 clients, in requests/s: {', '.join(rates)}.\n"


def scaling_tables(run: dict[str, Any]) -> str:
    """The section of docs/performance.md: scaling with clients, photo sizes and threads."""
    measured = run["growth"]
    lines = [
        "| clients | queue | answers/s | p50, p99 | memory | refused |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['clients']} | {row['queue']} | {load_cells(row)} | {row['errors']:,} |"
            for row in measured["clients"]
        ),
        "",
        "| photo | bytes | requests/s | p50, p99 | memory |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['width']} x {row['height']} | {row['bytes'] / 1000:,.0f} kB | {load_cells(row)} |"
            for row in measured["photos"]
        ),
        "",
        "| threads in a bare loop | threads in each prediction | photos/s | p50 |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row['threads']} | {row['inner']} | {row['rate']:.0f} | {row['p50_ms']:.1f} ms |"
            for row in measured["loops"]
        ),
    ]
    return "\n".join(lines) + "\n"


def load_cells(row: Row) -> str:
    """Three cells: requests per second, latency, memory."""
    return f"{row['rate']:.0f} | {_latency(row)} | {_megabytes(row['load_mb'])}"


def _latency(load: Row) -> str:
    return f"{load['p50_ms']:.0f}, {load['p99_ms']:.0f} ms"


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB"
