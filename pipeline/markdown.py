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


def code(text: str, longest: int = MAX_CODE_CHARACTERS) -> str:
    """Any text as inline code: one line, without markup, at most `longest` characters."""
    return f"`{plain_text(text, longest).translate(SUBSTITUTES) or ' '}`"


def code_list(texts: Sequence[str], most: int = 5) -> str:
    """Several texts as inline code, separated by commas; beyond `most` only their number."""
    listed = ", ".join(code(text, 160) for text in texts[:most])
    return f"{listed} and {len(texts) - most:,} more" if len(texts) > most else listed


def plain_text(text: str, longest: int) -> str:
    """Any text as one line of visible characters; a long one is shortened in the middle.

    The end is kept because long names often differ there.
    """
    text = " ".join("".join(map(_visible, text)).split())
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _visible(character: str) -> str:
    if character in BIDI_CONTROLS:
        return ""
    if character.isspace():
        return " "
    return "�" if unicodedata.category(character) in INVISIBLE_CATEGORIES else character


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], most: int | None = None, figures: bool = False
) -> str:
    """A table of at most `most` rows, and how many were omitted; `figures` aligns numbers to the right."""
    rule = ["---", *["---:" if figures else "---"] * (len(header) - 1)]
    lines = [header, rule, *rows[:most]]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n{omitted_note(len(rows), most)}"


def bullets(items: Sequence[str], most: int | None = None) -> str:
    """A list of at most `most` items, and the number of omitted ones."""
    return "".join(f"- {item}\n" for item in items[:most]) + omitted_note(len(items), most)


def omitted_note(total: int, most: int | None) -> str:
    """How many of `total` entries are not among the first `most`; empty if none."""
    return "" if most is None or total <= most else f"\n... and {total - most:,} more.\n"


def details(summary: str, body: str) -> str:
    """A section that is folded until the reader opens it."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body.strip()}\n\n</details>\n"
