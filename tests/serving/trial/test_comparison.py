"""Pairs of answers are compared by the names of labels, and what is no prediction counts as a failure."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from serving.model.predictor import Prediction
from serving.trial.comparison import Answer, AnswerPair, compare_answers

LABELS = ("red", "green", "blue")
SLOWDOWN = 1.5


def answer(probabilities: Sequence[float], labels: Sequence[str] = LABELS, seconds: float = 0.01) -> Answer:
    return Answer(Prediction(np.array(probabilities, dtype=np.float32), None), labels, seconds)


RED = answer([0.7, 0.2, 0.1])


def pair(candidate: Answer, active: Answer = RED) -> AnswerPair:
    found = compare_answers(active, candidate, SLOWDOWN)
    assert found is not None
    return found


def test_the_best_class_decides() -> None:
    found = pair(answer([0.4, 0.3, 0.3]))
    assert (found.agreed, found.failed, found.slower) == (True, False, False)
    assert (found.active_class, found.active_label, found.candidate_label) == (0, "red", "red")
    assert found.difference == pytest.approx(0.3)
    found = pair(answer([0.3, 0.1, 0.6]))
    assert (found.agreed, found.candidate_label) == (False, "blue")
    assert found.difference == pytest.approx(0.4)


def test_labels_in_another_order_are_found_by_name() -> None:
    found = pair(answer([0.1, 0.2, 0.7], labels=("blue", "green", "red")))
    assert found.agreed
    assert found.difference == 0


@pytest.mark.parametrize(
    ("labels", "probabilities", "agreed", "difference"),
    [
        # A class that was added.
        (("amber", *LABELS), [0.0, 0.7, 0.2, 0.1], True, 0.0),
        (("amber", *LABELS), [0.6, 0.2, 0.1, 0.1], False, 0.5),
        # A class that was removed has no probability.
        (("green", "blue"), [0.5, 0.5], False, 0.7),
    ],
)
def test_label_lists_with_other_content(
    labels: Sequence[str], probabilities: Sequence[float], agreed: bool, difference: float
) -> None:
    found = pair(answer(probabilities, labels))
    assert found.agreed is agreed
    assert found.difference == pytest.approx(difference)


def test_of_equals_the_first_one_is_the_answer_as_in_the_response() -> None:
    assert pair(answer([0.4, 0.4, 0.2])).agreed
    assert not pair(answer([0.4, 0.4, 0.2], labels=("green", "red", "blue"))).agreed


@pytest.mark.parametrize(
    "probabilities",
    [
        [math.nan, 0.5, 0.5],
        [math.nan] * 3,
        [math.inf, 0.0, 0.0],
        [-math.inf, 1.0, 1.0],
        [3.0, 1.0, -1.0],
        [0.9, 0.9, 0.9],
        [0.0, 0.0, 0.0],
        [0.7, 0.3],
        [0.7, 0.1, 0.1, 0.1],
        [],
    ],
)
def test_what_is_no_distribution_is_a_failure(probabilities: list[float]) -> None:
    found = pair(answer(probabilities))
    assert (found.failed, found.agreed, found.slower, found.candidate_label) == (True, False, False, None)
    assert (found.difference, found.candidate_seconds) == (0, 0)
    assert compare_answers(answer(probabilities), RED, SLOWDOWN) is None


def test_no_prediction_is_a_failure() -> None:
    assert pair(Answer(None, LABELS, 9.0)).failed
    assert compare_answers(Answer(None, LABELS, 0.0), RED, SLOWDOWN) is None
    assert pair(answer([], labels=())).failed


def test_a_distribution_over_other_dimensions_is_a_failure() -> None:
    wrong = Answer(Prediction(np.array([[0.7, 0.2, 0.1]], dtype=np.float32), None), LABELS, 0.01)
    assert pair(wrong).failed


@pytest.mark.parametrize(("seconds", "slower"), [(0.001, False), (0.015, False), (0.0151, True)])
def test_slower_is_longer_than_the_allowed_factor(seconds: float, slower: bool) -> None:
    assert pair(answer([0.7, 0.2, 0.1], seconds=seconds)).slower is slower
