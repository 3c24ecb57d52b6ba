"""GitHub Markdown in which no text from a file can act as markup.

Text from files (class names, params, reasons, branches) is shown as inline code, in which GitHub resolves no
mention, link, image or HTML. Characters that would end the code are replaced by similar ones.
"""

import unicodedata
from collections.abc import Sequence

MAX_CODE_CHARACTERS = 60
# The backtick ends inline code, the bar ends a table cell; "<" is for renderers without code in tables.
SUBSTITUTES = str.maketrans({"`": "\u02cb", "|": "¦", "<": "\u2039"})
# Control characters, surrogates, private and unassigned ones, line and paragraph separators. Of the format
# characters (Cf) only those for bidirectional text are removed: the others occur in Persian words and emoji.
INVISIBLE_CATEGORIES = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def code(text: str, max_characters: int = MAX_CODE_CHARACTERS) -> str:
    """Any text as inline code: one line, without markup, at most `max_characters` characters."""
    return f"`{plain_text(text, max_characters).translate(SUBSTITUTES) or ' '}`"


def code_list(texts: Sequence[str], max_items: int = 5) -> str:
    """Several texts as inline code, separated by commas; beyond `max_items` only their number."""
    listed = ", ".join(code(text, 160) for text in texts[:max_items])
    return f"{listed} and {len(texts) - max_items:,} more" if len(texts) > max_items else listed


def plain_text(text: str, max_characters: int) -> str:
    """Any text as one line of visible characters; a long one is shortened in the middle.

    The end is kept because long names often differ there.
    """
    text = " ".join("".join(map(_visible, text)).split())
    if len(text) <= max_characters:
        return text
    tail = max_characters // 3
    return f"{text[: max_characters - tail - 1]}…{text[-tail:]}"


def _visible(character: str) -> str:
    if character in BIDI_CONTROLS:
        return ""
    if character.isspace():
        return " "
    return "�" if unicodedata.category(character) in INVISIBLE_CATEGORIES else character


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], max_rows: int | None = None, numeric: bool = False
) -> str:
    """A table of at most `max_rows` rows, and the number of omitted ones; `numeric` aligns columns right."""
    rule = ["---", *["---:" if numeric else "---"] * (len(header) - 1)]
    lines = [header, rule, *rows[:max_rows]]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n{omitted_note(len(rows), max_rows)}"


def bullets(items: Sequence[str], max_items: int | None = None) -> str:
    """A list of at most `max_items` items, and the number of omitted ones."""
    return "".join(f"- {item}\n" for item in items[:max_items]) + omitted_note(len(items), max_items)


def omitted_note(total: int, max_items: int | None) -> str:
    """How many of `total` entries are not among the first `max_items`; empty if none."""
    return "" if max_items is None or total <= max_items else f"\n... and {total - max_items:,} more.\n"


def details(summary: str, body: str) -> str:
    """A collapsed section."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body.strip()}\n\n</details>\n"
