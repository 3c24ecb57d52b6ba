"""Puts measured tables into documents, between `<!-- name -->` and `<!-- end of name -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def section(document: Path, name: str) -> str:
    """What stands between the marks."""
    found = _pattern(name).search(document.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{document} has no marks for {name}")
    return found[2]


def show(document: Path, name: str, table: str) -> None:
    """Puts a table between the marks."""
    section(document, name)
    text = document.read_text(encoding="utf-8")
    document.write_text(_pattern(name).sub(lambda found: found[1] + table + found[3], text), encoding="utf-8")


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
