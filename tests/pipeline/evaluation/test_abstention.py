"""The table of abstention: what is still answered, and how often that is right."""

import numpy as np
import pytest

from pipeline.evaluation.abstention import THRESHOLDS, abstention_rows
from pipeline.evaluation.metrics import wilson_interval


def test_shares_and_accuracy_by_hand() -> None:
    confidence = np.array([0.4, 0.55, 0.65, 0.97], np.float32)
    rows = {row["threshold"]: row for row in abstention_rows(confidence, np.array([0, 1, 0, 1], bool))}
    assert list(rows) == list(THRESHOLDS)
    assert [rows[threshold]["answered"] for threshold in (0.5, 0.6, 0.7)] == [0.75, 0.5, 0.25]
    assert [rows[threshold]["accuracy"] for threshold in (0.5, 0.6, 0.7)] == [0.66667, 0.5, 1.0]
    assert rows[0.5]["answered_interval"] == pytest.approx(wilson_interval(3, 4), abs=1e-5)
    assert rows[0.5]["accuracy_interval"] == pytest.approx(wilson_interval(2, 3), abs=1e-5)


def test_without_an_answer_there_is_no_accuracy() -> None:
    row = abstention_rows(np.array([0.3, 0.4], np.float32), np.array([True, False]))[0]
    assert (row["answered"], row["accuracy"], row["accuracy_interval"]) == (0, None, None)


def test_the_threshold_is_compared_in_float64_as_in_the_server() -> None:
    """The float32 next to 0.7 is below it, the one next to 0.6 above."""
    for threshold, answered in ((0.6, 1.0), (0.7, 0.0)):
        rows = abstention_rows(np.array([threshold], np.float32), np.array([True]))
        assert {row["threshold"]: row["answered"] for row in rows}[threshold] == answered
