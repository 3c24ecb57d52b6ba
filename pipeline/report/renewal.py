"""What this workspace has brought up to date: `dvc.lock` as it was committed beside what it is now.

Machines of CI run a pipeline whose lock somebody forgot to renew; afterwards DVC calls it fresh.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.project.staleness import DATA_FOLDERS
from pipeline.report import repository
from pipeline.report.comparison import flat

LOCK, RAW = Path("dvc.lock"), "data/raw/"


def renewed(model: str) -> list[str]:
    """What of the model's stages was not as the committed lock says: commands, code and params.

    What the stages make themselves is left out: it may have other bytes on another machine.
    """
    before, now = _stages(repository.content("HEAD", LOCK)), _stages(_workspace())
    return [
        f"{name}: {what}"
        for name, stage in now.items()
        if name in before and name.endswith(f"@{model}")
        for what in _changes(before[name], stage)
    ]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("cmd") != now.get("cmd"):
        yield "another command"
    ours, theirs = _inputs(before), _inputs(now)
    yield from sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))


def _inputs(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Dependencies by path, and params by key."""
    files = {str(entry["path"]): entry.get("md5") for entry in stage.get("deps", ())}
    given = {
        path: md5 for path, md5 in files.items() if path.startswith(RAW) or not path.startswith(DATA_FOLDERS)
    }
    return {**given, **flat(stage.get("params", {}))}


def _stages(data: bytes | None) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(data or b"")
    except yaml.YAMLError:
        return {}
    stages = document.get("stages") if isinstance(document, Mapping) else None
    return stages if isinstance(stages, Mapping) else {}


def _workspace() -> bytes | None:
    return LOCK.read_bytes() if LOCK.exists() else None
