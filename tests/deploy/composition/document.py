"""What deploy/compose.yaml says."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.repo.imports import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
UNITS = {"": 1, "s": 1, "k": 2**10, "m": 2**20, "g": 2**30}
# A dollar that stands for itself, or a variable with what holds if it is not set.
VARIABLE = re.compile(r"\$(?:\$|\{\w+:-([^}]*)\})")


def document(file: Path = FILE) -> dict[str, Any]:
    """All of it, with the defaults of its variables."""
    filled: dict[str, Any] = _filled(yaml.safe_load(file.read_text(encoding="utf-8")))
    return filled


def _filled(value: Any) -> Any:  # noqa: ANN401  (a part of a YAML document)
    if isinstance(value, dict):
        return {key: _filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part) for part in value]
    return VARIABLE.sub(lambda match: match[1] or "$", value) if isinstance(value, str) else value


def number(text: str) -> int:
    """Seconds or bytes, as Compose and nginx write them."""
    found = re.fullmatch(r"(\d+)([a-z]?)", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]
