"""Evaluates GitHub's expressions `${{ ... }}`, as far as this repository's workflows use them."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
OPERATORS = ((r"&&", " and "), (r"\|\|", " or "), (r"!(?!=)", " not "))


class Missing(str):
    """The value of a missing member: empty, and so are its own members."""

    def __getattr__(self, name: str) -> "Missing":
        return self


class Context(dict[str, Any]):
    """A context such as `github`; missing members are empty, as on GitHub."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = self.get(name, Missing())
        return Context(value) if isinstance(value, dict) else value


def evaluate(expression: str, contexts: Mapping[str, Any], workspace: Path, succeeded: bool) -> Any:  # noqa: ANN401
    """The value of an expression without its braces: GitHub's operators are replaced by Python's."""
    for github, python in OPERATORS:
        expression = re.sub(github, python, expression)
    names = {
        **contexts,
        "cancelled": lambda: False,
        "success": lambda: succeeded,
        "hashFiles": lambda name: hashlib.sha256((workspace / name).read_bytes()).hexdigest(),
    }
    # Only files of this repository are evaluated.
    return eval(" ".join(expression.split()), {"__builtins__": {}}, names)  # noqa: S307


def fill(text: str, contexts: Mapping[str, Any], workspace: Path) -> str:
    """Replaces each expression of a text by its value."""
    return EXPRESSION.sub(lambda match: _to_text(evaluate(match[1], contexts, workspace, True)), text)


def holds(condition: str, contexts: Mapping[str, Any], workspace: Path, succeeded: bool) -> bool:
    """Whether an `if` holds. Without success() or cancelled() in it, it also requires success."""
    bare = EXPRESSION.sub(lambda match: match[1], condition)
    if not re.search(r"\b(success|cancelled)\(\)", bare):
        bare = f"success() and ({bare})"
    return bool(evaluate(bare, contexts, workspace, succeeded))


def _to_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
