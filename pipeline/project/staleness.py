"""Is dvc.lock what the code, the params and the data say? Without pulling or running anything.

DVC has no command that tells: `dvc status` exits with 0 whatever it finds, and with 1 under `--quiet` also
when data were merely not pulled; `dvc repro --dry --allow-missing` misses a changed first stage.
"""

import json
import subprocess
import sys
from typing import Any

from pipeline.errors import CommandFailed

# Not there is no disagreement for data and models, which a fresh clone does not have.
ABSENT, FETCHED = frozenset({"deleted", "not in cache"}), ("data/", "models/")


def stale(model: str | None = None) -> list[str]:
    """One line for each stage and each reason why its lock is out of date; of one model, or of all."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return [
        f"{stage}: {reason}"
        for stage, changes in sorted(found.items())
        if model is None or stage.endswith(f"@{model}")
        for reason in _reasons(changes)
    ]


def _reasons(changes: list[Any]) -> list[str]:
    """Flattens DVC's answer: "changed command", or {"changed deps": {path: state or {key: state}}}."""
    reasons: list[str] = []
    for change in changes:
        if isinstance(change, str):
            reasons.append(change)
            continue
        for kind, entries in change.items():
            for path, state in entries.items():
                states = state if isinstance(state, dict) else {path: state}
                reasons += [
                    f"{kind}, {name}: {what}"
                    for name, what in states.items()
                    if what not in ABSENT or not name.startswith(FETCHED)
                ]
    return reasons
