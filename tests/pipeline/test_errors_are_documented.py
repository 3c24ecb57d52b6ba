"""The tree in the docstring of pipeline/errors.py lists exactly the errors that exist, and each is raised."""

import re

from pipeline import errors
from tests.repo.imports import ROOT


def test_the_tree_shows_all_errors() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__))
    assert drawn == {error.__name__ for error in errors.PipelineError.__subclasses__()}


def test_every_error_is_raised_somewhere() -> None:
    source = "".join(
        path.read_text() for path in (ROOT / "pipeline").rglob("*.py") if path.name != "errors.py"
    )
    assert [
        error for error in errors.PipelineError.__subclasses__() if f"{error.__name__}(" not in source
    ] == []
