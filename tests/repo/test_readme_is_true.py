"""What the README tells to type exists, what it links to is there, and `make help` lists every verb."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from PIL import Image

from benchmarks import hostile, image, protocols, soak, stops
from benchmarks.documents import PERFORMANCE, README, section
from benchmarks.serving import plot, tables
from benchmarks.serving.__main__ import RESULTS, SMALL_MODEL
from pipeline.__main__ import COMMAND_FUNCTIONS
from serving.api.protocols import mlflow_scoring, open_inference_metadata
from serving.config import Settings, variable
from tests.repo.imports import ROOT
from tests.repo.routes import ROUTES
from tests.repo.stages import STAGES

# Fenced blocks, then inline code: prose says "make" too.
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
COMMANDS = {command.__name__.removeprefix("_") for command in COMMAND_FUNCTIONS}


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
        number = isinstance(field.default, float | int) and field.default is not True
        shown = f"{field.default:g}" if number else str(field.default or "").lower()
        assert field.default in (None, "", (), False) or shown in defaults, field.name


@pytest.fixture(scope="module")
def guide() -> str:
    """The text of docs/protocols.md."""
    return (ROOT / "docs/protocols.md").read_text(encoding="utf-8")


def written_out(path: str) -> set[str]:
    """The paths that one stands for: what is in brackets may be left out, and has alternatives."""
    before, bracket, rest = path.partition("[")
    inside, _, after = rest.partition("]")
    return {before + choice + after for choice in ("", *inside.split(r"\|"))} if bracket else {path}


def test_every_route_is_explained(manual: str, guide: str) -> None:
    found = re.findall(r"`(GET|POST) (/[^`]*)`", manual + guide)
    assert {(method, path) for method, shown in found for path in written_out(shown)} == ROUTES


# Packages whose versions the table of clients names, and the only one that may be any.
CLIENTS = {"tritonclient", "requests", "mlflow", "huggingface_hub"}


def test_the_table_of_clients_names_the_versions_that_are_tested(readme: str) -> None:
    rows = re.findall(
        r"^\| ([^|]*`[^|]+) \| (\d[\d.]+|any) \|", section_of(readme, "### Protocols"), re.MULTILINE
    )
    assert [version for client, version in rows if "`curl`" in client] == ["any"]
    seen = set()
    for client, shown in rows:
        for name in CLIENTS & set(re.findall(r"`(\w+)", client)):
            seen.add(name)
            assert shown == version(name)
    assert seen == CLIENTS


def section_of(text: str, title: str) -> str:
    """What stands below a title, up to the next one."""
    return re.split(r"^#+ ", text.partition(title)[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_protocol_that_version_tells_is_that_of_the_mlflow_that_is_tested() -> None:
    assert version("mlflow") == mlflow_scoring.MLFLOW_VERSION


def test_the_server_tells_its_own_version() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert described["project"]["version"] == open_inference_metadata.VERSION


ANCHOR = re.compile(r'^#+ (.+)$|<a id="([^"]+)">', re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The fragments of a document, as GitHub makes them from its titles, and those that it names itself."""
    titles = ANCHOR.findall(document.read_text(encoding="utf-8"))
    return {named or re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title, named in titles}


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", *DOCUMENTS])
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = [link.partition("#") for link in LINK.findall(document.read_text(encoding="utf-8"))]
    assert links
    for path, _, fragment in links:
        if "://" not in path:
            target = document.parent / path if path else document
            assert target.exists(), path
            assert not fragment or fragment in anchors(target), f"{path}#{fragment}"


def test_the_readme_lists_every_document(readme: str) -> None:
    assert {link for link in LINK.findall(readme) if link in DOCUMENTS} == set(DOCUMENTS)


@pytest.mark.parametrize(
    "module",
    [hostile, soak, stops, image, protocols],
    ids=["hostile", "soak", "stops", "image", "protocols"],
)
def test_the_manual_shows_what_was_measured(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    assert section(module.DOCUMENT, name) == module.table(json.loads(module.RESULTS.read_text()))


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """What the last runs of the benchmark found."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_readme_shows_what_the_benchmark_measured(benchmark: dict[str, Any]) -> None:
    assert section(README, "bench") == tables.contender_table(benchmark["full"])
    assert section(README, "bench-quick") == tables.quick_summary(benchmark["quick"])
    assert section(PERFORMANCE, "growth") == tables.scaling_tables(benchmark["full"])


def test_the_performance_page_shows_the_small_model(benchmark: dict[str, Any]) -> None:
    shown = section(PERFORMANCE, "bench-digits")
    measured = benchmark.get(SMALL_MODEL)
    assert shown == (tables.small_model_table(measured) if measured else "Not measured yet.\n")


def test_the_picture_is_of_the_same_run(benchmark: dict[str, Any]) -> None:
    with Image.open(plot.CHART) as picture:
        assert picture.info[plot.HASH_KEY] == plot.figures_hash(benchmark["full"])
