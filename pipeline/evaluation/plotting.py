"""Figures that become PNG files: the same bytes each time, and names in any script.

Matplotlib's own font comes first, then Noto for what it lacks: Chinese, Japanese, Korean, Devanagari, Thai
and some twenty more. A character that none of them has is written as its code point, such as U+12000.
"""

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"
# Packages of nothing but fonts, 17 MB. Whoever leaves them out sees more code points.
PACKAGES = ("manimgx_fonts", "noto_cjk_sans_jp_regular")


@contextmanager
def canvas(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure that becomes a file when the block ends."""
    matplotlib.use("Agg")
    with matplotlib.rc_context({"font.family": [OWN, *_added()]}), warnings.catch_warnings():
        # Of two characters that are drawn as one, no font may have both.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=inches, dpi=80, layout="constrained")
        yield figure
        # The version of matplotlib would otherwise be written into the file.
        figure.savefig(path, format="png", metadata={"Software": None})


def drawable(text: str) -> str:
    """The text with code points in the place of what no font has; what is not seen anyway is left out."""
    return "".join(character if _known(ord(character)) else _instead(character) for character in text)


def _instead(character: str) -> str:
    return "" if unicodedata.category(character) in ("Cf", "Mn", "Me") else f"U+{ord(character):04X}"


@cache
def _known(number: int) -> bool:
    # A line's end is no character of a font.
    return number == ord("\n") or any(font.get_char_index(number) for font in _fonts())


@cache
def _fonts() -> tuple[FT2Font, ...]:
    return tuple(FT2Font(path) for path in (fontManager.findfont(OWN), *map(str, _files())))


@cache
def _added() -> tuple[str, ...]:
    """The names of the fonts of the packages, which Matplotlib knows from now on."""
    for path in _files():
        fontManager.addfont(path)
    return tuple(sorted({FT2Font(str(path)).family_name for path in _files()}))


def _files() -> list[Path]:
    found = [spec for package in PACKAGES if (spec := find_spec(package)) and spec.origin]
    return [file for spec in found for file in sorted(Path(str(spec.origin)).parent.glob("*.[ot]tf"))]
