"""Results of a run, with round figures, so that the expected tables can be computed by hand."""

from typing import Any

from benchmarks.serving.contenders import LIMIT, OURS, PEER, TUTORIAL
from benchmarks.serving.project import EIGHT_BIT, FLOAT
from benchmarks.serving.statistics import Row


def load_row(rate: float, errors: int = 0) -> Row:
    return {"rate": rate, "p50_ms": 20.0, "p99_ms": 40.0, "errors": errors}


def row(name: str, kind: str, precision: str, rate: float, megabytes: float) -> Row:
    """A contender that was measured."""
    loads = {"1": load_row(50), "8": load_row(rate), "64": load_row(rate)}
    clients = {"0": load_row(rate)} if kind == LIMIT else loads
    answers = {"asked": 200, "answered": 200, "right": 180, "agree": 200}
    return {
        "name": name, "kind": kind, "precision": precision, "clients": clients, "start_seconds": 1.0,
        "idle_mb": megabytes, "load_mb": megabytes, "answers": None if kind == LIMIT else answers,
    }  # fmt: skip


def failed(name: str, reason: str) -> Row:
    """A contender that failed."""
    return {"name": name, "kind": PEER, "precision": FLOAT, "failed": reason}


def all_rows() -> list[Row]:
    """Both bundles, their limits, the tutorial's app, two peers, and one that does not start."""
    return [
        row("Goldfish, 8 bit", OURS, EIGHT_BIT, 450, 100),
        row("Goldfish, float32", OURS, FLOAT, 330, 150),
        row("the limit, 8 bit", LIMIT, EIGHT_BIT, 500, 90),
        row("the limit, float32", LIMIT, FLOAT, 400, 120),
        row("the tutorial's app", TUTORIAL, FLOAT, 10, 1800),
        row("Swift", PEER, FLOAT, 300, 320),
        row("Slow", PEER, FLOAT, 200, 2000),
        failed("Broken", "no right answer within 120 s of its start: it wrote nothing"),
    ]


def run(rows: list[Row]) -> dict[str, Any]:
    """A whole run."""
    return {
        "date": "2026-11-22", "commit": "abc", "rounds": 3, "seconds": 8.0, "contenders": rows,
        "machine": {"cpu": "A CPU", "cores": 2, "load_generator": "wrk 4.1.0"},
        "photos": {"asked": 200, "sent": 20, "mean_bytes": 70_000},
    }  # fmt: skip
