"""A bundle that passed its gate becomes an MLflow version, with all that is known about it."""

import platform
import subprocess
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.errors import GateRefused, InputMissing
from pipeline.evaluation.gate_refusals import refusals
from pipeline.files import read_json, sha256_of
from pipeline.layout import Layout
from pipeline.registry.mlflow_registry import CHALLENGER, Record, Registry, Version
from serving.artifact.bundle import Bundle

LOCK = Path("dvc.lock")


def ensure(layout: Layout, registry: Registry) -> Version:
    """Registers the workspace's bundle as `challenger`, unless the registry has it; or `GateRefused`.

    Files that the registry has lost meanwhile are put there again.
    """
    bundle = Bundle.open(layout.bundle)
    bundle.verify()
    if not layout.metrics.exists():
        raise InputMissing(layout.metrics, layout.model)
    metrics = read_json(layout.metrics)
    if metrics.get("digest") != bundle.digest:
        raise GateRefused(
            layout.model, bundle.digest, [f"{layout.metrics} measures another one; evaluate it first"]
        )
    if not metrics["gate"]["passed"]:
        raise GateRefused(layout.model, bundle.digest, refusals(metrics["gate"]))
    settings = params.load().for_model(layout.model)
    version = registry.register(bundle, record(layout, settings, metrics))
    if not registry.holds(version, bundle):
        registry.restore(version, bundle)
        print(f"{version.uri} had lost files at {registry.shown}: restored from {layout.bundle}")
    registry.set_alias(version, CHALLENGER)
    return version


def record(layout: Layout, settings: params.Model, metrics: dict[str, Any]) -> Record:
    """Gathers what is kept of a version: params, metrics, where it comes from."""
    data = read_json(layout.data_report)
    # Figures of this machine count only if they are about this bundle.
    machine = read_json(layout.machine) if layout.machine.exists() else {}
    timed = machine.get("latency", {}) if machine.get("digest") == metrics["digest"] else {}
    document = settings.model_dump(by_alias=True)
    return Record(
        params={key: str(value) for key, value in _flat(document).items()},
        metrics={key: float(value) for key, value in _flat({**metrics, **timed}).items() if _number(value)},
        tags={
            "data_digest": data["digest"],
            **({"weights_sha256": read_json(layout.weights)["sha256"]} if layout.weights.exists() else {}),
            "git_commit": _git("rev-parse", "HEAD"),
            "git_dirty": str(bool(_git("status", "--porcelain"))).lower(),
            "dvc_lock_sha256": sha256_of(LOCK) if LOCK.exists() else "",
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        },
        data_digest=data["digest"],
        data_source=layout.raw.as_posix(),
        reports=layout.reports,
        description=settings.register_.description,
    )


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
