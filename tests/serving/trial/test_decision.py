"""The decision needs evidence: missing answers promote nothing, and a worse candidate is found soon."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation import metrics
from serving.artifact.files import to_json
from serving.artifact.manifest import LABELS
from serving.model.predictor import Predictor
from serving.trial.comparison import Answer, compare_answers
from serving.trial.counts import Counts
from serving.trial.decision import Decision, Rules, State, judge
from serving.trial.intervals import wilson_interval
from tests.serving.bundles import write_bundle, write_manifest

RULES = Rules()


def test_the_reason_has_the_figures() -> None:
    assert judge(Counts(compared=520, agreed=412), RULES) == Decision(
        State.WORSE, "agrees in 412 of 520 answers, 79.2 % (95 % interval 75.5 to 82.5), below 95 %"
    )


@pytest.mark.parametrize(
    ("counts", "state", "reason"),
    [
        (Counts(), "undecided", "no answers were compared"),
        (Counts(dropped=1000), "undecided", "no answers were compared"),
        (Counts(compared=153, agreed=153), "undecided", "not yet clearly"),
        (
            Counts(compared=154, agreed=154),
            "as_good",
            "above 95 %; takes more than 1.5 times as long in 0 of 154",
        ),
        (Counts(compared=3, agreed=0), "worse", "agrees in 0 of 3"),
        # Failures are disagreements.
        (Counts(compared=3, failed=3), "worse", "agrees in 0 of 3 answers, 3 of them failed"),
        # Slower in most answers, though all agree.
        (Counts(compared=200, agreed=200, slower=180), "worse", "in 180 of 200 answers, 90.0 %"),
        (Counts(compared=200, agreed=200, slower=110), "as_good", "in 110 of 200"),
        # The share of slower answers is that of the answers without a failure.
        (Counts(compared=1000, agreed=988, failed=12, slower=0), "as_good", "0 of 988"),
    ],
)
def test_states(counts: Counts, state: str, reason: str) -> None:
    decision = judge(counts, RULES)
    assert decision.state == state
    assert reason in decision.reason


def test_a_low_floor_needs_the_least_number_of_answers() -> None:
    rules = Rules(agreement_floor=0.5)
    assert "at least 100 are needed" in judge(Counts(compared=99, agreed=99), rules).reason
    assert judge(Counts(compared=100, agreed=100), rules).state is State.AS_GOOD


@pytest.mark.parametrize(
    "counts",
    [
        Counts(compared=10, agreed=11),
        Counts(compared=10, agreed=10, slower=11),
        Counts(compared=1, failed=2, slower=1),
        Counts(agreed=1),
    ],
)
def test_counts_that_are_just_being_written_are_judged_too(counts: Counts) -> None:
    assert judge(counts, RULES).state is State.UNDECIDED


@pytest.mark.parametrize(
    "values",
    [
        {"agreement_floor": 0.0},
        {"agreement_floor": 1.0},
        {"agreement_floor": math.nan},
        {"max_slowdown": 0.0},
        {"max_slowdown": math.inf},
        {"max_slowdown": math.nan},
        {"level": 0.0},
        {"level": 1.0},
        {"min_compared": 0},
    ],
)
def test_rules_that_cannot_be_tested_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not "):
        Rules(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("hits", "total"), [(0, 0), (0, 1), (1, 1), (412, 520), (10**6, 10**6)])
def test_intervals_are_those_of_the_pipeline(hits: int, total: int) -> None:
    assert wilson_interval(hits, total) == metrics.wilson_interval(hits, total)


def try_candidate(active: Predictor, candidate: Predictor, answers: int) -> tuple[Decision, int]:
    """Classifies images of noise with both until that is decided; the decision and the number of answers."""
    pixels = np.random.default_rng(1).integers(0, 256, (answers, *active.preprocessing.shape), dtype=np.uint8)
    counts, decision = Counts(), judge(Counts(), RULES)
    for image in pixels:
        expected, found = (
            Answer(each.predict_one(image), [label.name for label in each.labels], 0.001)
            for each in (active, candidate)
        )
        pair = compare_answers(expected, found, RULES.max_slowdown)
        assert pair is not None
        counts += Counts.of(pair)
        decision = judge(counts, RULES)
        if decision.state is not State.UNDECIDED:
            break
    return decision, counts.compared


def test_a_candidate_with_permuted_labels_is_found_worse_in_a_few_answers(
    predictor: Predictor, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "permuted")
    names = ("green", "blue", "red")
    labels = to_json([{"id": f"c{number}", "name": name} for number, name in enumerate(names)])
    (folder / LABELS).write_bytes(labels)
    permuted = Predictor.open(write_manifest(folder))
    decision, answers = try_candidate(predictor, permuted, 10)
    # docs/trials.md: if no answer agrees, three suffice.
    assert (decision.state, answers) == (State.WORSE, 3)


def test_an_equal_candidate_is_found_as_good(predictor: Predictor, tmp_path: Path) -> None:
    steeper = Predictor.open(write_bundle(tmp_path / "steeper", steepness=5.0))
    decision, answers = try_candidate(predictor, steeper, 400)
    assert (decision.state, answers) == (State.AS_GOOD, 154)
