"""Class names in any script and with any characters, in figures and in the model card."""

import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation import example_grid, model_card
from pipeline.evaluation.example_grid import Example
from pipeline.evaluation.plotting import png_figure, replace_missing_glyphs

# One name for each script that people are likely to label their photos in.
SCRIPTS = {
    "Japanese": "金魚 きんぎょ キンギョ",
    "Chinese": "金鱼 龍鱼",
    "Korean": "금붕어",
    "Hindi": "क्षत्रिय मछली",
    "Bengali": "গোল্ডফিশ",
    "Gujarati": "સોનેરી માછલી",
    "Punjabi": "ਮੱਛੀ",
    "Tamil": "தங்கமீன்",
    "Telugu": "బంగారు చేప",
    "Kannada": "ಚಿನ್ನದ ಮೀನು",
    "Malayalam": "സ്വർണ്ണമത്സ്യം",
    "Sinhala": "රන් මාළු",
    "Thai": "ปลาทอง",
    "Lao": "ປາຄຳ",
    "Khmer": "ត្រីមាស",
    "Burmese": "ရွှေငါး",
    "Arabic": "سمكة ذهبية",
    "Persian": "ماهی‌قرمز",
    "Hebrew": "דג זהב",
    "Amharic": "ወርቃማ ዓሣ",
    "Armenian": "ոսկե ձկնիկ",
    "Georgian": "ოქროს თევზი",
    "Russian": "золотая рыбка",
    "Greek": "χρυσόψαρο",
    "Vietnamese": "cá vàng",
    "emoji": "\U0001f41f \u2764",
}


def drawn(path: Path, name: str) -> bytes:
    """The PNG of an example grid of a class with this name."""
    example = Example(np.zeros((8, 8, 3), np.uint8), name, name, 0.5)
    example_grid.draw_grid(path, "title", [example], [])
    return path.read_bytes()


@pytest.mark.parametrize("script", SCRIPTS)
def test_there_are_glyphs(script: str) -> None:
    seen = "".join(sign for sign in SCRIPTS[script] if unicodedata.category(sign) != "Cf")
    assert replace_missing_glyphs(SCRIPTS[script]).replace("\u200c", "") == seen


def test_they_are_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No warning, which would fail the test, and no boxes for missing glyphs, which would all be equal."""
    caplog.set_level(logging.WARNING)
    path = tmp_path / "drawn.png"
    pictures_of = {drawn(path, sign) for sign in ("金", "鱼", "금", "क", "ก", "ت", "א", "አ", "\U0001f41f")}
    assert len(pictures_of) == 9
    assert caplog.records == []


def test_a_sign_that_no_font_has_is_told_by_its_number(tmp_path: Path) -> None:
    assert replace_missing_glyphs("\U00012000 x") == "U+12000 x"
    assert replace_missing_glyphs("\U000e0041\ufffe") == "U+FFFE"
    assert drawn(tmp_path / "a.png", "\U00012000") != drawn(tmp_path / "b.png", "\U00012001")


@pytest.mark.parametrize(
    "name", ["$x$ $\\frac", "a\nb\r\tc", "x" * 500, "", "\u202eabc", "a\u0300\u0301" * 30, "\0"]
)
def test_any_name_is_drawn(tmp_path: Path, name: str) -> None:
    assert drawn(tmp_path / "drawn.png", name).startswith(b"\x89PNG")


def test_the_same_names_give_the_same_bytes(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a.png", SCRIPTS["Hindi"]) == drawn(tmp_path / "b.png", SCRIPTS["Hindi"])


def test_fonts_are_left_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = matplotlib.rcParams["font.family"]
    with png_figure(tmp_path / "x.png", (1, 1)):
        assert matplotlib.rcParams["font.family"] != before
    assert matplotlib.rcParams["font.family"] == before


HOSTILE = [
    "[click](https://evil.example)",
    "![](https://evil.example/pixel.png)",
    "<img src=x onerror=alert(1)>",
    "@everybody",
    "a|b",
    "`code` `",
    "**bold** _x_ ~~y~~",
    "#1 GH-1",
    "line\n\n# heading",
    "<!-- ",
    "https://evil.example",
    "\u202egnp.exe",
    "a\u2028b",
    "| --- |",
    "$x^2$",
    "[^1]",
    "&lt;b&gt;",
]


SHARES = dict.fromkeys(("top1", "top5", "precision_macro", "recall_macro", "f1_macro"), 0.5)
METRICS: dict[str, Any] = {
    **SHARES,
    **{f"{key}_interval": [0.4, 0.6] for key in ("top1", "top5")},
    "calibration_error": 0.1,
    "majority": {"class": "cat", "share": 0.5},
    "images": 10,
    "precision": "float32",
    "digest": "0" * 64,
    "gate": {"passed": True, "checks": {}},
}
DATA: dict[str, Any] = {
    "images": {"train": 1, "valid": 1, "test": 1},
    "repeated": {},
    "look_alikes_across_splits": {"pairs": 0},
    "digest": "0" * 64,
}


def rendered(name: str) -> str:
    """The card of a model with a class of this name."""
    metrics = METRICS | {"majority": {"class": name, "share": 0.5}}
    classes = [{"name": name, "images": 10, "recall": 0.5, "precision": 0.5}]
    return model_card.render_card(
        "tiny", metrics, DATA, classes, [{"actual": name, "predicted": name, "images": 3}]
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_acts_in_the_card(name: str) -> None:
    """The name is a code span, which GitHub does not interpret, and the card has its usual lines."""
    usual, text = rendered("cat").splitlines(), rendered(name).splitlines()
    assert len(text) == len(usual)
    differing = [(line, was) for line, was in zip(text, usual, strict=True) if line != was]
    # The lines of the commonest class, the weakest class, and the confusions.
    assert len(differing) == 3
    for line, was in differing:
        assert re.sub(r"`[^`|<]+`", "`cat`", line) == was


def test_the_card_names_what_is_never_answered() -> None:
    rows = [
        {"name": "cat", "images": 10, "recall": 1.0, "precision": 0.9},
        {"name": "dog", "images": 1, "recall": 0.0, "precision": 0.0},
        {"name": "owl", "images": 1, "recall": 0.0, "precision": 0.0},
        {"name": "ant", "images": 0, "recall": 0.0, "precision": 0.0},
    ]
    confused = [{"actual": "dog", "predicted": "owl", "images": 1}]
    assert model_card.never_predicted(rows, confused) == ["dog"]
    text = model_card.render_card("tiny", METRICS, DATA, rows, confused)
    assert "Never answered: `dog`." in text
    assert "| `dog` | 1 | 0.0 % | 0.0 % | `owl`, 1 times |" in text
    assert "| `cat` | 10 | 100.0 % | 90.0 % |  |" in text
    assert "| top-1 of always answering `cat`, the commonest class | 50.0 % | |" in text
    assert "Never answered" not in rendered("cat")


@pytest.mark.parametrize("measured", [True, False])
def test_the_card_has_top_5_where_it_was_measured(measured: bool) -> None:
    metrics = {key: value for key, value in METRICS.items() if measured or not key.startswith("top5")}
    assert ("| top-5 |" in model_card.render_card("tiny", metrics, DATA, [], [])) is measured


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_card_shows_names_in_any_script(script: str) -> None:
    assert f"| `{SCRIPTS[script]}` | 10 |" in rendered(SCRIPTS[script])
