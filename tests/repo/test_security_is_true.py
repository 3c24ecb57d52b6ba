"""What is promised is shown by something: links lead somewhere, tests and commands that are named exist."""

import re

import pytest

from pipeline.__main__ import COMMAND_FUNCTIONS
from tests.repo.imports import ROOT


@pytest.fixture(scope="module")
def text() -> str:
    """The document."""
    return (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_links_lead_somewhere(text: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/robustness.md"])
def test_the_tests_that_it_names_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`(?:tests/[\w/]+/)?(test_\w+\.py)`", text)
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 5
    assert set(named) <= there


def test_its_commands_exist(text: str) -> None:
    verbs = {command.__name__.removeprefix("_") for command in COMMAND_FUNCTIONS}
    assert set(re.findall(r"python -m pipeline (\w+)", text)) <= verbs
    for module in re.findall(r"python -m ((?:serving|benchmarks)[\w.]*)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
