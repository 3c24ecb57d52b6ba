"""GitHub's Markdown, written so that nothing that comes out of a file can act in it.

Whatever a file says (names of classes, params, reasons, branches) is shown as code: there GitHub makes no
mention, link, picture or HTML of it. What could end the code is replaced by a character that looks like it.
"""

import unicodedata
from collections.abc import Sequence

LONGEST = 60
# The first two would end the code, or the cell; the third is for renderers that know no code in tables.
LOOK_ALIKES = str.maketrans({"`": "\u02cb", "|": "¦", "<": "\u2039"})
# Control characters, halves of characters, private ones, line and paragraph separators. Of the invisible
# ones (Cf) some turn the direction of all that follows; others are part of words in Persian and of emoji.
UNSHOWN = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def code(text: str, longest: int = LONGEST) -> str:
    """Any text as inline code: one line, harmless, at most `longest` characters."""
    return f"`{plain(text, longest).translate(LOOK_ALIKES) or ' '}`"


def codes(texts: Sequence[str], most: int = 5) -> str:
    """Several texts in a sentence; more than `most` would push everything else off the screen."""
    listed = ", ".join(code(text, 160) for text in texts[:most])
    return f"{listed} and {len(texts) - most:,} more" if len(texts) > most else listed


def plain(text: str, longest: int) -> str:
    """Any text as one line of characters that can be seen, without its middle if it is long.

    Long names often differ at the end.
    """
    text = " ".join("".join(map(_visible, text)).split())
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _visible(character: str) -> str:
    if character in TURNING:
        return ""
    if character.isspace():
        return " "
    return "�" if unicodedata.category(character) in UNSHOWN else character


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], most: int | None = None, figures: bool = False
) -> str:
    """A table; of more than `most` rows it says how many were left out. Columns of figures end alike."""
    rule = ["---", *["---:" if figures else "---"] * (len(header) - 1)]
    lines = [header, rule, *rows[:most]]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n{more(len(rows), most)}"


def bullets(items: Sequence[str], most: int | None = None) -> str:
    """A list, with how many were left out."""
    return "".join(f"- {item}\n" for item in items[:most]) + more(len(items), most)


def more(total: int, most: int | None) -> str:
    """How many of `total` are not among the first `most`; nothing if all are."""
    return "" if most is None or total <= most else f"\n... and {total - most:,} more.\n"


def details(summary: str, body: str) -> str:
    """What only some readers want to see."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body.strip()}\n\n</details>\n"
