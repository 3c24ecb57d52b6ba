"""What a gate refused a model for, read from metrics.json; without the code that measures."""

from collections.abc import Mapping
from typing import Any


def refusals(gate: Mapping[str, Any]) -> list[str]:
    """The reasons of the checks that failed, each with the name of its check."""
    checks = sorted(gate["checks"].items())
    return [f"{name}: {check['reason']}" for name, check in checks if not check["passed"]]
