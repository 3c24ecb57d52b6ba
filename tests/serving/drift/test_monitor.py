"""What the monitor says of the last answers, and of too few of them."""

import numpy as np
import pytest

from serving.artifact.confidence import Confidence
from serving.drift.monitor import KEEP_SECONDS, MIN_ANSWERS, DriftMonitor, Summary
from serving.drift.window import AnswerWindow
from serving.workers.shared_folder import SharedFolder
from tests.serving.bundles import CONFIDENCE_DOCUMENT
from tests.serving.drift.measured_bundles import MEASURED

# Confidence, energy, brightness and size, as the images of the bundle give them, and as others do.
USUAL = (0.96, 4.04, 1 / 3, 10.95)
OTHER = (0.35, 1.2, 0.9, 5000.0)


Values = tuple[float, float | None, float, float | None]


def summary(
    answers: int, values: Values, confidence: Confidence = MEASURED, classes: tuple[int, ...] = (0, 1, 2)
) -> Summary:
    """The summary after answers that have the same values, and these classes in turn."""
    drift = DriftMonitor(confidence, AnswerWindow(SharedFolder.create(), "tests"))
    for number in range(answers):
        drift.window.add(classes[number % len(classes)], *values)
    return drift.summary()


def shifted(found: Summary) -> dict[str, bool]:
    """Which of the distributions are more than usual away from the reference."""
    return {
        entry.name: entry.shift > entry.usual
        for entry in found.distributions
        if entry.shift is not None and entry.usual is not None
    }


def without(*parts: str) -> Confidence:
    """The confidence without these parts."""
    return Confidence.from_json(CONFIDENCE_DOCUMENT | dict.fromkeys(parts), 3)


NAMES = ["class", "confidence", "energy", "brightness", "size"]


def test_answers_like_the_validation_images() -> None:
    found = summary(300, USUAL)
    assert shifted(found) == dict.fromkeys(NAMES, False)
    assert found.estimated_accuracy == pytest.approx(0.96)
    assert found.unfamiliar is not None
    assert found.unfamiliar.share == 0


def test_other_answers() -> None:
    found = summary(300, OTHER, classes=(1,))
    assert shifted(found) == dict.fromkeys(NAMES, True)
    assert found.estimated_accuracy == pytest.approx(0.35)
    assert found.unfamiliar is not None
    assert found.unfamiliar.share == 1 > found.unfamiliar.usual


def test_each_distribution_is_compared_for_itself() -> None:
    each: dict[str, Values] = {
        "confidence": (OTHER[0], *USUAL[1:]),
        "energy": (USUAL[0], OTHER[1], *USUAL[2:]),
        "brightness": (*USUAL[:2], OTHER[2], USUAL[3]),
        "size": (*USUAL[:3], OTHER[3]),
    }
    for name, values in each.items():
        assert shifted(summary(300, values)) == {other: other == name for other in NAMES}
    assert shifted(summary(300, USUAL, classes=(1,))) == {other: other == "class" for other in NAMES}


@pytest.mark.parametrize("answers", [0, 1, MIN_ANSWERS - 1])
def test_too_few_answers_say_nothing(answers: int) -> None:
    found = summary(answers, OTHER)
    assert (found.answers, found.enough) == (answers, False)
    assert found.estimated_accuracy is None
    assert found.unfamiliar is None
    assert {(entry.shift, entry.usual, entry.answered) for entry in found.distributions} == {
        (None, None, answers)
    }


def test_the_least_number_of_answers_is_enough() -> None:
    found = summary(MIN_ANSWERS, USUAL)
    assert found.enough
    assert list(shifted(found)) == NAMES


def test_answers_without_a_size() -> None:
    found = summary(300, (*USUAL[:3], None))
    assert list(shifted(found)) == NAMES[:-1]
    assert found.distributions[-1].answered == 0


def test_values_that_are_no_numbers_are_left_out() -> None:
    found = summary(300, (float("nan"), float("-inf"), 1 / 3, 10.95))
    assert found.estimated_accuracy is None
    assert found.unfamiliar is not None
    # Minus infinity is as unfamiliar as can be.
    assert found.unfamiliar.share == 1
    assert list(shifted(found)) == ["class", "energy", "brightness", "size"]


def test_parts_that_were_not_measured() -> None:
    assert summary(300, USUAL, confidence=without("temperature")).estimated_accuracy is None
    assert summary(300, USUAL, confidence=without("energy")).unfamiliar is None
    assert summary(300, USUAL, confidence=without("reference")).distributions == ()
    partly = CONFIDENCE_DOCUMENT | {
        "reference": CONFIDENCE_DOCUMENT["reference"] | {"classes": None, "energy": None}
    }
    assert list(shifted(summary(300, USUAL, confidence=Confidence.from_json(partly, 3)))) == [
        "confidence",
        "brightness",
        "size",
    ]


def test_a_summary_is_kept_for_a_while() -> None:
    now = 1000.0
    drift = DriftMonitor(MEASURED, AnswerWindow(SharedFolder.create(), "tests"), clock=lambda: now)
    for number in range(MIN_ANSWERS - 1):
        drift.window.add(0, *USUAL)
        # Until there are enough, the count is always up to date.
        assert drift.summary().answers == number + 1
    drift.window.add(0, *USUAL)
    first = drift.summary()
    assert first.answers == MIN_ANSWERS
    drift.window.add(0, *USUAL)
    assert drift.summary() is first
    now += KEEP_SECONDS
    assert drift.summary().answers == MIN_ANSWERS + 1
    # Without another answer there is nothing to do.
    second = drift.summary()
    now += 1000
    assert drift.summary() is second


def test_a_full_window_forgets() -> None:
    drift = DriftMonitor(MEASURED, AnswerWindow(SharedFolder.create(), "tests"))
    for values, count in ((OTHER, 500), (USUAL, 1000)):
        for number in range(count):
            drift.window.add(number % 3, *values)
    found = drift.summary()
    assert found.answers == 1000
    assert not any(shifted(found).values())
    assert np.all(found.distributions[0].answers == [334, 333, 333])
