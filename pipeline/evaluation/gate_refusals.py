"""Reads from metrics.json why the gate refused a model.

Separate from `gate`, so that the stage `register` does not depend on the code that measures.
"""

from collections.abc import Mapping
from typing import Any


def refusal_reasons(gate: Mapping[str, Any]) -> list[str]:
    """The reasons of the failed checks, each with the name of its check."""
    checks = sorted(gate["checks"].items())
    return [f"{name}: {check['reason']}" for name, check in checks if not check["passed"]]
