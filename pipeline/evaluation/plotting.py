"""Matplotlib figures as reproducible PNG files, with class names in any script.

Matplotlib's own font comes first, then Noto for the characters that it lacks: Chinese, Japanese, Korean,
Devanagari, Thai and some twenty other scripts. A character without a glyph becomes its code point (U+12000).
"""

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from serving.model.decoder import Pixels

DEFAULT_FONT = "DejaVu Sans"
# Optional packages that contain only fonts, 17 MB. Without them more characters become code points.
FONT_PACKAGES = ("manimgx_fonts", "noto_cjk_sans_jp_regular")


def show_pixels(axes: Axes, pixels: Pixels) -> None:
    """Draws an image, uint8 [H,W,C]. One channel is grey; Matplotlib would colour it."""
    # Matplotlib measures the ticks of hidden axes too, which takes as long as all the rest.
    axes.set(xticks=[], yticks=[])
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


@contextmanager
def png_figure(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """Yields a figure and saves it at the end of the block."""
    matplotlib.use("Agg")
    families = [DEFAULT_FONT, *_register_fonts()]
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        # A combining sequence may be drawn as one glyph for which no font has both characters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=inches, dpi=80, layout="constrained")
        yield figure
        # Without metadata: it would contain Matplotlib's version.
        figure.savefig(path, format="png", metadata={"Software": None})


def replace_missing_glyphs(text: str) -> str:
    """Replaces characters without a glyph by their code points, and drops those that are invisible."""
    return "".join(character if _has_glyph(ord(character)) else _placeholder(character) for character in text)


def _placeholder(character: str) -> str:
    # Format characters and combining marks have no width of their own.
    return "" if unicodedata.category(character) in ("Cf", "Mn", "Me") else f"U+{ord(character):04X}"


@cache
def _has_glyph(code_point: int) -> bool:
    # Matplotlib handles line feeds itself.
    return code_point == ord("\n") or any(font.get_char_index(code_point) for font in _fonts())


@cache
def _fonts() -> tuple[FT2Font, ...]:
    return tuple(FT2Font(path) for path in (fontManager.findfont(DEFAULT_FONT), *map(str, _font_files())))


@cache
def _register_fonts() -> tuple[str, ...]:
    """Registers the fonts of the packages with Matplotlib; returns their family names."""
    for path in _font_files():
        fontManager.addfont(path)
    return tuple(sorted({FT2Font(str(path)).family_name for path in _font_files()}))


def _font_files() -> list[Path]:
    found = [spec for package in FONT_PACKAGES if (spec := find_spec(package)) and spec.origin]
    return [file for spec in found for file in sorted(Path(str(spec.origin)).parent.glob("*.[ot]tf"))]
