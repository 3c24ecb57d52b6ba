"""GitHub Markdown in which text from files cannot become markup.

Class names, params, reasons and branch names are written as inline code, in which GitHub renders no mention,
link, image or HTML. Characters that could end the code are replaced by similar ones.
"""

import unicodedata
from collections.abc import Sequence

MAX_CHARACTERS = 60
# "`" ends the code and "|" the table cell; "<" for renderers that do not support code in tables.
REPLACEMENTS = str.maketrans({"`": "\u02cb", "|": "¦", "<": "\u2039"})
# Control characters, surrogates, private use, unassigned, line and paragraph separators. Format characters
# (Cf) are kept, because Persian words and emoji contain them, except those that change the text direction.
INVISIBLE = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
DIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def code(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Any text as inline code on one line."""
    return f"`{one_line(text, max_characters).translate(REPLACEMENTS) or ' '}`"


def codes(texts: Sequence[str], limit: int = 5) -> str:
    """Up to `limit` texts as inline code, comma-separated, and how many were left out."""
    listed = ", ".join(code(text, 160) for text in texts[:limit])
    return f"{listed} and {len(texts) - limit:,} more" if len(texts) > limit else listed


def one_line(text: str, max_characters: int) -> str:
    """Any text as one visible line. Long text loses its middle: names often differ at the end."""
    text = " ".join("".join(map(_visible, text)).split())
    if len(text) <= max_characters:
        return text
    tail = max_characters // 3
    return f"{text[: max_characters - tail - 1]}…{text[-tail:]}"


def _visible(character: str) -> str:
    if character in DIRECTIONAL:
        return ""
    if character.isspace():
        return " "
    return "�" if unicodedata.category(character) in INVISIBLE else character


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], max_rows: int | None = None, numeric: bool = False
) -> str:
    """A table; with `numeric`, all columns but the first are right-aligned."""
    rule = ["---", *["---:" if numeric else "---"] * (len(header) - 1)]
    lines = [header, rule, *rows[:max_rows]]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n{omitted(len(rows), max_rows)}"


def bullets(items: Sequence[str], limit: int | None = None) -> str:
    return "".join(f"- {item}\n" for item in items[:limit]) + omitted(len(items), limit)


def omitted(total: int, shown: int | None) -> str:
    """How many items are not shown; empty if all are."""
    return "" if shown is None or total <= shown else f"\n... and {total - shown:,} more.\n"


def details(summary: str, body: str) -> str:
    """A collapsed section."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body.strip()}\n\n</details>\n"
