"""What the README tells to type exists, what it links to is there, and `make help` lists every verb."""

import json
import re
import subprocess
from types import ModuleType
from typing import Any

import msgspec
import pytest
from PIL import Image

from benchmarks import hostile, image, soak
from benchmarks.documents import section
from benchmarks.serving import plot, tables
from benchmarks.serving.results import MANUAL, PICTURE, README, RESULTS
from pipeline.__main__ import VERBS
from serving.config import Settings, variable
from tests.repo.imports import ROOT
from tests.repo.routes import ROUTES
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


@pytest.fixture(scope="module")
def manual() -> str:
    """The text of docs/serving.md."""
    return (ROOT / "docs/serving.md").read_text(encoding="utf-8")


def test_every_setting_is_explained_with_its_default(manual: str) -> None:
    table = {line.split("|")[1]: line.split("|")[2] for line in manual.splitlines() if line.startswith("| `")}
    rows = [(re.findall(r"`(\w+)`", names), defaults) for names, defaults in table.items()]
    explained = {name: defaults for names, defaults in rows for name in names}
    for field in msgspec.structs.fields(Settings):
        defaults = [part.strip() for part in explained[variable(field.name)].split(",")]
        shown = f"{field.default:g}" if isinstance(field.default, float | int) else str(field.default or "")
        assert field.default in (None, "", (), False) or shown in defaults, field.name


def test_every_route_is_explained(manual: str) -> None:
    explained = set(re.findall(r"`(GET|POST) (/\w*(?:\.json)?)`", manual))
    assert explained == ROUTES


def test_links_of_the_manual_lead_somewhere(manual: str) -> None:
    links = [link.split("#")[0] for link in LINK.findall(manual) if "://" not in link]
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize("module", [hostile, soak, image], ids=["hostile", "soak", "image"])
def test_the_manual_shows_what_was_measured(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    assert section(module.DOCUMENT, name) == module.table(json.loads(module.RESULTS.read_text()))


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """What the last runs of the benchmark found."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_readme_shows_what_the_benchmark_measured(benchmark: dict[str, Any]) -> None:
    assert section(README, "bench") == tables.table(benchmark["full"])
    assert section(README, "bench-quick") == tables.sentence(benchmark["quick"])
    assert section(MANUAL, "growth") == tables.growth(benchmark["full"])


def test_the_picture_is_of_the_same_run(benchmark: dict[str, Any]) -> None:
    with Image.open(PICTURE) as picture:
        assert picture.info[plot.NUMBERS] == plot.numbers(benchmark["full"])
