"""reliability.csv and reliability.png: before and after the temperature."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.batch_prediction import Predictions
from pipeline.evaluation.confidence_record import ConfidenceRecord
from pipeline.evaluation.metrics import CalibrationBin
from pipeline.evaluation.reliability_diagram import (
    SERVED_COLOUR,
    UNCALIBRATED_COLOUR,
    ReliabilityCurve,
    draw_reliability,
)
from pipeline.evaluation.report_tables import COLUMNS, reliability_curves, reliability_rows
from tests.pipeline.evaluation.confident_bundle import make_confidence

SERVED, BEFORE = [0.9, 0.9, 0.3], [0.7, 0.7, 0.4]


def predictions(temperature: float | None, recorded: bool = True) -> Predictions:
    """Three predictions, of which the second is wrong."""
    record = ConfidenceRecord.empty(make_confidence(temperature) if recorded else None, 3)
    if record is not None:
        record.uncalibrated[:] = BEFORE
    actual, predicted = np.array([0, 1, 0]), np.array([0, 0, 0])
    files = [Path(f"{number}.png") for number in range(3)]
    confidence = np.array(SERVED, np.float32)
    return Predictions(2, files, actual, predicted, confidence, actual, {}, record)


def test_rows_before_and_after() -> None:
    rows = reliability_rows(predictions(0.5))
    assert [list(row) for row in rows] == [COLUMNS["reliability.csv"]] * 4
    assert [tuple(row.values()) for row in rows] == [
        ("1", 0.4, 1.0, 1),
        ("1", 0.7, 0.5, 2),
        ("0.5", 0.3, 1.0, 1),
        ("0.5", 0.9, 0.5, 2),
    ]


@pytest.mark.parametrize(
    ("temperature", "recorded", "written"), [(1.0, True, "1"), (None, True, ""), (None, False, "")]
)
def test_without_a_temperature_there_is_one_curve(
    temperature: float | None, recorded: bool, written: str
) -> None:
    rows = reliability_rows(predictions(temperature, recorded))
    assert [(row["temperature"], row["confidence"]) for row in rows] == [(written, 0.3), (written, 0.9)]


def share_of(path: Path, colour: str) -> float:
    """How many of the pixels have this colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return float((pixels == wanted).all(axis=2).mean())


def test_both_curves_are_drawn_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        draw_reliability(path, "a $title", reliability_curves(predictions(0.5)))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for colour in (SERVED_COLOUR, UNCALIBRATED_COLOUR):
        assert share_of(paths[0], colour) > 0


def test_one_curve_and_none(tmp_path: Path) -> None:
    one = [ReliabilityCurve(None, [CalibrationBin(3, 0.5, 1 / 3), CalibrationBin(0, 0.9, 0.0)])]
    draw_reliability(tmp_path / "one.png", "one", one)
    assert share_of(tmp_path / "one.png", SERVED_COLOUR) > 0
    assert share_of(tmp_path / "one.png", UNCALIBRATED_COLOUR) == 0
    draw_reliability(tmp_path / "none.png", "not evaluated", [])
    assert share_of(tmp_path / "none.png", SERVED_COLOUR) == 0
