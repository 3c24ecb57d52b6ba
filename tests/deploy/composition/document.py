"""The contents of deploy/compose.yaml."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.repo.imports import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
UNITS = {"": 1, "s": 1, "k": 2**10, "m": 2**20, "g": 2**30}
# An escaped dollar sign, or a variable with its default.
VARIABLE = re.compile(r"\$(?:\$|\{\w+:-([^}]*)\})")


def document(file: Path = FILE) -> dict[str, Any]:
    """The whole document; variables have their defaults."""
    filled: dict[str, Any] = _with_defaults(yaml.safe_load(file.read_text(encoding="utf-8")))
    return filled


def _with_defaults(value: Any) -> Any:  # noqa: ANN401  (a part of a YAML document)
    if isinstance(value, dict):
        return {key: _with_defaults(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_defaults(part) for part in value]
    return VARIABLE.sub(_default, value) if isinstance(value, str) else value


def _default(match: re.Match[str]) -> str:
    return "$" if match[1] is None else match[1]


def number(text: str) -> int:
    """Seconds or bytes, as Compose and nginx write them."""
    found = re.fullmatch(r"(\d+)([a-z]?)", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]
