"""Summary statistics over the rounds, and the comparison with the targets. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.interference import Interference
from benchmarks.serving.contenders import CHOSEN_WORKERS, LIMIT, OURS, PEER, TUTORIAL
from benchmarks.serving.load_generator import Load
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.project import EIGHT_BIT, FLOAT
from benchmarks.targets import Target, at_least, at_most, fraction

# The number of clients whose rates are compared.
CLIENTS = "8"
# The figures of one contender, as results.json holds them.
Row = dict[str, Any]


def summarise(rounds: Sequence[Measurement]) -> Row:
    """Medians over the rounds; errors are summed up, and accuracy is that of the round that measured it."""
    accuracy = next((measured.accuracy for measured in rounds if measured.accuracy), None)
    return {
        "start_seconds": median((measured.start_seconds for measured in rounds), 2),
        "start": _shares([measured.start_interference for measured in rounds]),
        "idle_mb": median((measured.idle_mb for measured in rounds), 0),
        "load_mb": median((measured.load_mb for measured in rounds), 0),
        "clients": {
            str(clients): summarise_loads([measured.loads[clients] for measured in rounds])
            for clients in rounds[0].loads
        },
        "answers": asdict(accuracy) if accuracy else None,
    } | deviations(
        {
            "start_seconds": [measured.start_seconds for measured in rounds],
            "idle_mb": [measured.idle_mb for measured in rounds],
            "load_mb": [measured.load_mb for measured in rounds],
        }
    )


def summarise_loads(rounds: Sequence[Load]) -> Row:
    """Medians of the same load over the rounds."""
    return (
        {
            "rate": median((load.rate for load in rounds), 1),
            "p50_ms": median((load.p50 for load in rounds), 1),
            "p99_ms": median((load.p99 for load in rounds), 1),
            "errors": sum(load.errors for load in rounds),
            "rates": [round(load.rate, 1) for load in rounds],
        }
        | _shares([load.interference for load in rounds])
        | deviations(
            {
                "rate": [load.rate for load in rounds],
                "p50_ms": [load.p50 for load in rounds],
                "p99_ms": [load.p99 for load in rounds],
            }
        )
    )


def _shares(rounds: Sequence[Interference]) -> Row:
    """What other programs and other machines took of the cores' time in each round, 0 to 1."""
    return {
        "foreign": [round(seen.foreign, 3) for seen in rounds],
        "stolen": [round(seen.stolen, 3) for seen in rounds],
    }


def deviations(figures: Mapping[str, Sequence[float]]) -> Row:
    """The largest distance of a round from the median, for each figure; nothing for a single round."""
    if any(len(values) == 1 for values in figures.values()):
        return {}
    return {"deviations": {name: deviation(values) for name, values in figures.items()}}


def deviation(values: Sequence[float]) -> float:
    """The largest distance of a value from the median, rounded."""
    middle = statistics.median(values)
    return round(max(abs(value - middle) for value in values), 2)


def row_interference(load: Row) -> list[float]:
    """What others took of the cores in each round of a load, 0 to 1; nothing in results that lack it."""
    rounds = zip(load.get("foreign", []), load.get("stolen", []), strict=True)
    return [float(foreign + stolen) for foreign, stolen in rounds]


def contender_interference(row: Row) -> list[float]:
    """The same for the start and all loads of a contender."""
    parts = [row.get("start", {}), *row.get("clients", {}).values()]
    return [share for part in parts for share in row_interference(part)]


def run_interference(run: Row) -> dict[str, list[float]]:
    """What others took during each part of a run, by its name."""
    shares = {row["name"]: contender_interference(row) for row in run["contenders"]}
    growth = run.get("growth", {"clients": [], "photos": [], "loops": []})
    for row in growth["clients"]:
        shares[f"{row['clients']} clients with a queue of {row['queue']}"] = row_interference(row)
    for row in growth["photos"]:
        shares[f"photos of {row['width']} x {row['height']}"] = row_interference(row)
    for row in growth["loops"]:
        shares[f"a loop of {row['threads']} threads, {row['inner']} each"] = row_interference(row)
    return shares


def median(values: Iterable[float], digits: int) -> float:
    """The rounded median."""
    return round(statistics.median(values), digits)


def rate(row: Row) -> float:
    """Requests per second at eight clients; photos per second of the bare limit, which has no clients."""
    return float(compared_load(row)["rate"])


def compared_load(row: Row) -> Row:
    """The load whose rate is compared."""
    clients: dict[str, Row] = row["clients"]
    return clients[CLIENTS if CLIENTS in clients else "0"]


def measured_rows(rows: Sequence[Row], kind: str, precision: str | None = None) -> list[Row]:
    """The rows of a kind that did not fail, of one precision or of all."""
    return [
        row
        for row in rows
        if row["kind"] == kind and "failed" not in row and precision in (None, row["precision"])
    ]


def compare_with_targets(rows: Sequence[Row]) -> list[Target]:
    """The targets for which all rows were measured; this server's rows with the faster Python count."""
    own = _fastest(measured_rows(rows, OURS))
    if not own:
        return []
    default, float_rows = own[0], measured_rows(own, OURS, FLOAT)
    targets: list[Target] = []
    for app in measured_rows(rows, TUTORIAL):
        targets.append(at_least("requests/s against the tutorial's app", 30, rate(default) / rate(app)))
        memory = default["load_mb"] / app["load_mb"]
        targets.append(fraction("memory under load against the same", 20, memory))
    for row in own:
        for limit in measured_rows(rows, LIMIT, row["precision"]):
            what = f"requests/s of {row['name']} against the limit of the same bundle"
            targets.append(at_least(what, 0.85, rate(row) / rate(limit)))
    if peers := measured_rows(rows, PEER):
        best = max(peers, key=rate)
        what = f"{default['name']} against the best of the others, {best['name']}"
        targets.append(at_least(what, 1.5, rate(default) / rate(best)))
        for row in float_rows:
            targets.append(at_least(f"{row['name']} against {best['name']}", 1.1, rate(row) / rate(best)))
            targets.append(fraction("memory under load of the same two", 2, row["load_mb"] / best["load_mb"]))
    targets.append(at_most("from start to the first right answer", 1.5, default["start_seconds"], "s"))
    if default["precision"] == EIGHT_BIT and float_rows and default["answers"] and float_rows[0]["answers"]:
        asked = default["answers"]["asked"]
        lost = 100 * (float_rows[0]["answers"]["right"] - default["answers"]["right"]) / asked
        targets.append(at_most(f"top-1 of {asked} photos lost by 8 bit", 0.5, lost, "points"))
    return targets


def _fastest(rows: Sequence[Row]) -> list[Row]:
    """The fastest row of each precision, in the order in which the precisions come."""
    precisions = dict.fromkeys(row["precision"] for row in rows)
    return [max((row for row in rows if row["precision"] == each), key=rate) for each in precisions]


def compare_small_model(rows: Sequence[Row]) -> list[Target]:
    """The target for a small model, of this server with as many workers as it chooses, if it was measured."""
    own = [row for row in measured_rows(rows, OURS) if row["setup"] == CHOSEN_WORKERS]
    peers = measured_rows(rows, PEER)
    if not own or not peers:
        return []
    fastest, best = _fastest(own)[0], max(peers, key=rate)
    what = f"{fastest['name']} against the best of the others, {best['name']}"
    return [at_least(what, 1.5, rate(fastest) / rate(best))]
