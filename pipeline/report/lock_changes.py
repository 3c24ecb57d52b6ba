"""Differences between the committed `dvc.lock` and the one in the workspace.

CI runs a pipeline whose committed lock is out of date and so renews the lock; after that, `dvc status` finds
nothing. Only this comparison shows that the lock was not committed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.project.staleness import DATA_FOLDERS
from pipeline.report import git_history
from pipeline.report.differences import flatten
from pipeline.report.results import workspace_file

LOCK, RAW = Path("dvc.lock"), "data/raw/"


def renewed_lock_entries(model: str) -> list[str]:
    """The commands, code files, raw data and params of a model's stages that differ, as `<stage>: <what>`.

    Files that stages write are left out, because their bytes may differ between machines.
    """
    committed, current = _stages(git_history.read_file("HEAD", LOCK)), _stages(workspace_file(LOCK))
    return [
        f"{name}: {change}"
        for name, stage in current.items()
        if name in committed and name.endswith(f"@{model}")
        for change in _stage_changes(committed[name], stage)
    ]


def has_committed_inputs(model: str, names: Sequence[str]) -> bool:
    """Whether these stages of a model ran with the commands, code, raw data and params of the last commit."""
    committed, current = _stages(git_history.read_file("HEAD", LOCK)), _stages(workspace_file(LOCK))
    stages = [f"{name}@{model}" for name in names]
    return all(
        stage in committed and stage in current and not [*_stage_changes(committed[stage], current[stage])]
        for stage in stages
    )


def _stage_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("cmd") != now.get("cmd"):
        yield "another command"
    old, new = _inputs(before), _inputs(now)
    yield from sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _inputs(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Digests of dependencies by path, and values of params by key."""
    files = {str(entry["path"]): entry.get("md5") for entry in stage.get("deps", ())}
    given = {
        path: md5 for path, md5 in files.items() if path.startswith(RAW) or not path.startswith(DATA_FOLDERS)
    }
    return {**given, **flatten(stage.get("params", {}))}


def _stages(data: bytes | None) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(data or b"")
    except yaml.YAMLError:
        return {}
    stages = document.get("stages") if isinstance(document, Mapping) else None
    return stages if isinstance(stages, Mapping) else {}
