"""Registration: a bundle that passed its gate becomes an MLflow version with params, metrics and origin."""

import platform
import subprocess
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.errors import GateRefused, InputMissing
from pipeline.evaluation.gate_refusals import refusal_reasons
from pipeline.files import read_json, sha256_of
from pipeline.layout import Layout
from pipeline.registry.mlflow_files import has_all_files, restore_files
from pipeline.registry.mlflow_registry import CHALLENGER, RegisteredVersion, Registry
from pipeline.registry.mlflow_version import VersionMetadata, get_or_create_version
from serving.artifact.bundle import Bundle

LOCK = Path("dvc.lock")


def ensure_registered(layout: Layout, registry: Registry) -> RegisteredVersion:
    """Registers the workspace's bundle if the registry lacks it, and gives it the alias `challenger`.

    Raises `GateRefused` unless its gate passed. Files that the registry has lost are uploaded again.
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
        raise GateRefused(layout.model, bundle.digest, refusal_reasons(metrics["gate"]))
    settings = params.load().for_model(layout.model)
    version = get_or_create_version(registry, bundle, collect_metadata(layout, settings, metrics))
    if not has_all_files(registry, version, bundle):
        restore_files(registry, version, bundle)
        print(f"{version.uri} had lost files at {registry.display_uri}: restored from {layout.bundle}")
    registry.set_alias(version, CHALLENGER)
    return version


def collect_metadata(layout: Layout, settings: params.Model, metrics: dict[str, Any]) -> VersionMetadata:
    """Collects params, metrics and the origin of a version: data digest, commit, lock file, machine."""
    data = read_json(layout.data_report)
    # Latencies are logged only if they were measured with this bundle.
    machine = read_json(layout.machine) if layout.machine.exists() else {}
    latency = machine.get("latency", {}) if machine.get("digest") == metrics["digest"] else {}
    sections = settings.model_dump(by_alias=True)
    numbers = {key: value for key, value in _flatten({**metrics, **latency}).items() if _is_number(value)}
    return VersionMetadata(
        params={key: str(value) for key, value in _flatten(sections).items()},
        metrics={key: float(value) for key, value in numbers.items()},
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


def _flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _git(*arguments: str) -> str:
    """The output of a git command; "" if it fails, as in a project without git."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
