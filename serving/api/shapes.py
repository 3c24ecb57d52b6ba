"""How an error looks at a path: every protocol has a form of its own, and what lies outside has another."""

from collections.abc import Callable, Sequence

from flask import Response

from serving.api.respond import problem
from serving.problem import Problem

# From an error and its headers to what a client of the protocol understands.
Shape = Callable[[Problem, dict[str, str]], Response]


class Shapes:
    """Forms by the beginning of the path, for errors that are raised where no view is reached, too."""

    def __init__(self, known: Sequence[tuple[str, Shape]]) -> None:
        self._known = known

    def find(self, path: str) -> Shape:
        """The form of the longest beginning that fits; elsewhere problem details."""
        below = path.rstrip("/") + "/"
        fitting = [(len(prefix), shape) for prefix, shape in self._known if below.startswith(prefix + "/")]
        return max(fitting, key=lambda found: found[0])[1] if fitting else problem
