"""The results as the documents show them. Pure."""

from typing import Any

from benchmarks.serving.contender import LIMIT, OURS, TUTORIAL
from benchmarks.serving.figures import Row, measured, rate, targets

HEADER = (
    "| | requests/s with 1, 8, 64 clients | p50, p99 with 8 | memory idle, loaded | first right answer "
    "| top-1 of {asked} | of the limit |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def table(run: dict[str, Any]) -> str:
    """The README's part: the picture, the contenders, the targets, and what they are worth."""
    lines = [HEADER.format(asked=run["photos"]["asked"])]
    lines += [_row(row, run["contenders"]) for row in run["contenders"]]
    lines += ["", *_failures(run), _conditions(run)]
    lines += ["", "| | target | measured | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {target.what} | {target.target} | {target.measured} | {target.verdict} |"
        for target in targets(run["contenders"])
    ]
    lines += _reach(run["contenders"])
    return "\n".join(lines) + "\n"


def _reach(rows: list[Row]) -> list[str]:
    """How far the tutorial's app is from what the bundle could do without any server."""
    limits, apps = measured(rows, LIMIT), measured(rows, TUTORIAL)
    if not limits or not apps:
        return []
    times, part = rate(limits[0]) / rate(apps[0]), apps[0]["load_mb"] / limits[0]["load_mb"]
    return [
        "",
        f"The bare limit, without a server, is {times:.0f} times the tutorial's app, in 1/{part:.0f} of its "
        "memory. What the server's time goes into, and what was tried, is in "
        "[docs/performance.md](docs/performance.md#where-the-time-goes).",
    ]


def _row(row: Row, rows: list[Row]) -> str:
    """One contender; a failed one keeps its place."""
    name = f"**{row['name']}**" if row["kind"] == OURS else row["name"]
    if "failed" in row:
        return f"| {name} | not measured, see below | | | | | |"
    if row["kind"] == LIMIT:
        loop = row["clients"]["0"]
        return f"| {name} | {loop['rate']:.0f} | | {_megabytes(row['load_mb'])} | | | 100 % |"
    rates = ", ".join(f"{seen['rate']:.0f}" for seen in row["clients"].values())
    eight, answers = row["clients"]["8"], row["answers"]
    memory = f"{row['idle_mb']:,.0f}, {_megabytes(row['load_mb'])}"
    limits = measured(rows, LIMIT, row["precision"]) or measured(rows, LIMIT)
    part = f"{100 * rate(row) / rate(limits[0]):.0f} %" if limits else ""
    return (
        f"| {name} | {rates} | {eight['p50_ms']:.0f}, {eight['p99_ms']:.0f} ms | {memory} "
        f"| {row['start_seconds']:.1f} s | {answers['right']} | {part} |"
    )


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def _failures(run: dict[str, Any]) -> list[str]:
    """Why rows are empty, and errors of those that are not."""
    lines = []
    for row in run["contenders"]:
        if "failed" in row:
            lines.append(f"- {row['name']} was not measured: {row['failed']}")
            continue
        if errors := sum(seen["errors"] for seen in row["clients"].values()):
            lines.append(f"- {row['name']}: {errors:,} requests failed.")
    return [*lines, ""] if lines else []


def _conditions(run: dict[str, Any]) -> str:
    """What one must know to read the figures."""
    return (
        f"{circumstances(run)} The others share one ONNX file (float32) and our way to decode, and are set "
        "up as their documentation recommends for two cores, [each in its folder](benchmarks/serving/peers). "
        "Memory is PSS of all processes."
    )


def circumstances(run: dict[str, Any]) -> str:
    """When and where, how long and with what."""
    machine, photos = run["machine"], run["photos"]
    return (
        f"{run['date']}, commit {run['commit']}, {machine['cpu']}, {machine['cores']:g} cores that the load "
        f"generator ({machine['load_generator']}) shares; medians of {run['rounds']} shuffled rounds of "
        f"{run['seconds']:g} s. {photos['sent']} JPEGs of {photos['mean_bytes'] / 1000:.0f} kB on average, "
        "in turn."
    )


def sentence(run: dict[str, Any]) -> str:
    """What a quick run says."""
    rows = run["contenders"]
    parts = [
        f"{row['name']} {rate(row):.0f}" for kind in (OURS, LIMIT, TUTORIAL) for row in measured(rows, kind)
    ]
    return f"The last quick one, of {run['date']}, at 8 clients, in requests/s: {', '.join(parts)}.\n"


def growth(run: dict[str, Any]) -> str:
    """The manual's part: how one server grows with clients and photos."""
    grown = run["growth"]
    lines = [
        "| clients | queue | answers/s | p50, p99 | memory | refused |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {seen['clients']} | {seen['queue']} | {load(seen)} | {seen['errors']:,} |"
        for seen in grown["clients"]
    ]
    lines += ["", "| photo | bytes | requests/s | p50, p99 | memory |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {seen['width']} x {seen['height']} | {seen['bytes'] / 1000:,.0f} kB | {load(seen)} |"
        for seen in grown["photos"]
    ]
    lines += ["", "| threads in a bare loop | threads in each prediction | photos/s | p50 |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += [
        f"| {seen['threads']} | {seen['inner']} | {seen['rate']:.0f} | {seen['p50_ms']:.1f} ms |"
        for seen in grown["loops"]
    ]
    return "\n".join(lines) + "\n"


def load(seen: Row) -> str:
    """Requests per second, latency and memory: three cells."""
    latency = f"{seen['p50_ms']:.0f}, {seen['p99_ms']:.0f} ms"
    return f"{seen['rate']:.0f} | {latency} | {_megabytes(seen['load_mb'])}"
