"""Writes results to JSON files and to documents, between `<!-- name -->` and `<!-- end of name -->`."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MODELS = ROOT / "docs/models.md"
PERFORMANCE = ROOT / "docs/performance.md"
PIPELINE = ROOT / "docs/pipeline.md"
PROTOCOLS = ROOT / "docs/protocols.md"
ROBUSTNESS = ROOT / "docs/robustness.md"
SCORING = ROOT / "docs/scoring.md"
LIVE = ROOT / "docs/live.md"
TRIALS = ROOT / "docs/trials.md"


def write_json(path: Path, results: Mapping[str, object]) -> None:
    """Overwrites a file with results."""
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a column or a cell may be empty."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("".join(f"| {cell} " if cell != "" else "| " for cell in line) + "|\n" for line in lines)


def section(document: Path, name: str) -> str:
    """The text between the markers."""
    found = _pattern(name).search(document.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{document} has no markers for {name}")
    return found[2]


def replace_section(document: Path, name: str, text: str) -> None:
    """Replaces the text between the markers, and prints it."""
    section(document, name)
    updated = _pattern(name).sub(lambda found: found[1] + text + found[3], document.read_text("utf-8"))
    document.write_text(updated, encoding="utf-8")
    print(text)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
