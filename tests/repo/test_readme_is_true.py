"""What the README tells to type exists, what it links to is there, and `make help` lists every verb."""

import re
import subprocess

import pytest

from pipeline.__main__ import VERBS
from tests.repo.imports import ROOT
from tests.repo.stages import STAGES

# Fenced blocks, then inline code: prose says "make" too.
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMANDS = {verb.__name__.removeprefix("_") for verb in VERBS}


@pytest.fixture(scope="module")
def readme() -> str:
    """The README's text."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def code(readme: str) -> str:
    """All that the README shows as code."""
    return "\n".join(CODE.findall(readme))


def phony() -> set[str]:
    """The Makefile's verbs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {verb for line in re.findall(r"^\.PHONY: *(.+)$", makefile, re.MULTILINE) for verb in line.split()}


def test_make_verbs_exist(code: str) -> None:
    mentioned = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    assert mentioned
    assert mentioned - phony() == set()


def test_commands_exist(code: str) -> None:
    assert set(re.findall(r"python -m pipeline ([a-z]+)", code)) - COMMANDS == set()


def test_stages_exist(code: str) -> None:
    assert set(re.findall(r"python -m pipeline\.([a-z_]+)", code)) - set(STAGES) == set()


def test_links_lead_somewhere(readme: str) -> None:
    links = {link.split("#")[0] for link in LINK.findall(readme) if "://" not in link}
    assert [link for link in sorted(links - {""}) if not (ROOT / link).exists()] == []


def test_help_lists_every_verb() -> None:
    done = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE)) == phony()
