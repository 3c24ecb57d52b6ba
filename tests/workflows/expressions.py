"""What GitHub puts in the place of `${{ ... }}`, as far as this repository's workflows need it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOLE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
OPERATORS = ((r"&&", " and "), (r"\|\|", " or "), (r"!(?!=)", " not "))


class Nothing(str):
    """What is not there: empty, and so is all that is in it."""

    def __getattr__(self, name: str) -> "Nothing":
        return self


class Context(dict[str, Any]):
    """A context such as `github`: what it lacks is empty, as it is there."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = self.get(name, Nothing())
        return Context(value) if isinstance(value, dict) else value


def evaluate(expression: str, contexts: Mapping[str, Any], workspace: Path, succeeded: bool) -> Any:  # noqa: ANN401
    """The value of what stands between the braces. It is GitHub's syntax, said in Python's."""
    for theirs, ours in OPERATORS:
        expression = re.sub(theirs, ours, expression)
    names = {
        **contexts,
        "cancelled": lambda: False,
        "success": lambda: succeeded,
        "hashFiles": lambda name: hashlib.sha256((workspace / name).read_bytes()).hexdigest(),
    }
    # The expressions are those of this repository's own files.
    return eval(" ".join(expression.split()), {"__builtins__": {}}, names)  # noqa: S307


def fill(text: str, contexts: Mapping[str, Any], workspace: Path) -> str:
    """Replaces each expression of a text by its value."""
    return HOLE.sub(lambda hole: _written(evaluate(hole[1], contexts, workspace, True)), text)


def holds(condition: str, contexts: Mapping[str, Any], workspace: Path, succeeded: bool) -> bool:
    """Is an `if` true? One that does not speak of success or its lack means success too."""
    bare = HOLE.sub(lambda hole: hole[1], condition)
    if not re.search(r"\b(success|cancelled)\(\)", bare):
        bare = f"success() and ({bare})"
    return bool(evaluate(bare, contexts, workspace, succeeded))


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
