"""Every error of the pipeline stands in the tree that its module draws, and nothing else does."""

import re

from pipeline import errors
from tests.repo.imports import ROOT


def test_the_tree_shows_all_errors() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__))
    assert drawn == {error.__name__ for error in errors.PipelineError.__subclasses__()}


def test_every_error_is_raised_somewhere() -> None:
    source = "".join(
        path.read_text() for path in (ROOT / "pipeline").glob("*.py") if path.name != "errors.py"
    )
    assert [
        error for error in errors.PipelineError.__subclasses__() if f"{error.__name__}(" not in source
    ] == []
