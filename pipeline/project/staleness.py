"""Compares dvc.lock with code, params and data, without pulling or running anything.

DVC has no command for this: `dvc status` exits with 0 whatever it finds, and with 1 under `--quiet` also if
data were merely not pulled; `dvc repro --dry --allow-missing` misses a changed first stage.
"""

import json
import subprocess
import sys
from typing import Any

from pipeline.errors import CommandFailed

# Missing data and models do not make a lock stale: a fresh clone has none of them.
MISSING_STATES, DATA_FOLDERS = frozenset({"deleted", "not in cache"}), ("data/", "models/")


def stale_reasons(model: str | None = None) -> list[str]:
    """One line per stage and reason why dvc.lock is out of date; for one model, or for all."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr)
    status: dict[str, Any] = json.loads(done.stdout or "{}")
    return [
        f"{stage}: {reason}"
        for stage, changes in sorted(status.items())
        if model is None or stage.endswith(f"@{model}")
        for reason in _flatten_changes(changes)
    ]


def _flatten_changes(changes: list[Any]) -> list[str]:
    """Flattens DVC's format: "changed command", or {"changed deps": {path: state or {key: state}}}."""
    reasons: list[str] = []
    for change in changes:
        if isinstance(change, str):
            reasons.append(change)
            continue
        for kind, entries in change.items():
            for path, state in entries.items():
                states = state if isinstance(state, dict) else {path: state}
                reasons += [
                    f"{kind}, {name}: {value}"
                    for name, value in states.items()
                    if value not in MISSING_STATES or not name.startswith(DATA_FOLDERS)
                ]
    return reasons
