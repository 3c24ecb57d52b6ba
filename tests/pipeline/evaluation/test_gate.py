"""The gate: floors, the loss by int8, and the comparison with the pinned version."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.errors import DataRefused
from pipeline.evaluation import gate, metrics
from pipeline.evaluation.batch_prediction import Predictions, measure_latency, predict_folder
from pipeline.evaluation.example_selection import select_examples
from pipeline.evaluation.gate import PinnedComparison
from pipeline.evaluation.metrics_summary import summarise, terminal_lines
from pipeline.evaluation.pinned_comparison import compare_with_pinned
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.files import write
from pipeline.params import Evaluate
from pipeline.project.starter_params import STARTER_SECTION
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.promotion import promote
from pipeline.registry.registration import ensure_registered
from serving.artifact.pin import Pin
from serving.model.predictor import Predictor
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project

SETTINGS = Evaluate(
    min_top1=0.9,
    min_top5=0.99,
    min_recall=0.9,
    min_over_majority=0.5,
    min_agreement=0.999,
    max_quantisation_loss=0.005,
    max_latency_ms=10,
    significance=0.05,
)
SETTINGS_WITHOUT = SETTINGS.model_copy(update={"min_over_majority": 0.0})
GOOD = {
    "top1": 0.95,
    "top5": 1.0,
    "recall_macro": 0.94,
    "majority": {"class": "cat", "share": 0.3},
    "chance": 0.0,
    "agreement": {"keras_predict": 1.0, "keras_eager": 1.0},
}
STARTER_SETTINGS = Evaluate(**YAML(typ="safe").load(STARTER_SECTION)["evaluate"])


@pytest.mark.parametrize(
    ("changed", "milliseconds", "failed"),
    [
        ({}, 5.0, None),
        ({"top1": 0.9}, 10.0, None),
        ({"top1": 0.8999}, 5.0, "top1"),
        ({"top5": 0.98}, 5.0, "top5"),
        ({"recall_macro": 0.9}, 5.0, None),
        ({"recall_macro": 0.89}, 5.0, "recall"),
        ({"majority": {"class": "cat", "share": 0.9}}, 5.0, None),
        ({"majority": {"class": "cat", "share": 0.91}}, 5.0, "majority"),
        ({"chance": 0.049}, 5.0, None),
        ({"chance": 0.05}, 5.0, "majority"),
        ({"majority": {"class": "cat", "share": 1.0}, "top1": 1.0}, 5.0, "majority"),
        ({"agreement": {"keras_predict": 1.0, "keras_eager": 0.5}}, 5.0, "agreement"),
        ({}, 10.1, "latency"),
    ],
)
def test_floors(changed: dict[str, object], milliseconds: float, failed: str | None) -> None:
    checks = gate.check_floors(GOOD | changed, milliseconds, SETTINGS)
    assert [check.name for check in checks if not check.passed] == ([failed] if failed else [])
    assert gate.decide(checks)["passed"] is (failed is None)


def predictions(predicted: Sequence[int], actual: Sequence[int], classes: int) -> Predictions:
    """Predictions with these winners; the other classes rank in their order."""
    winners, truth = np.array(predicted), np.array(actual)
    ranks = np.where(winners == truth, 0, truth + (truth < winners))
    files = [Path(f"{number}.png") for number in range(len(truth))]
    confidence = np.full(len(truth), 0.9, dtype=np.float32)
    return Predictions(classes, files, truth, winners, confidence, ranks, {})


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        (0, 0, ([], [])),
        (0, 2, ([], [0, 1])),
        (1, 0, ([0], [])),
        (2, 1, ([0, 1], [2])),
        (7, 0, (list(range(7)), [])),
        (8, 9, (list(range(8)), list(range(8, 16)))),
        (15, 0, ([0, 2, 4, 6, 8, 10, 12, 14], [])),
    ],
)
def test_each_example_is_shown_once(right: int, wrong: int, expected: tuple[list[int], list[int]]) -> None:
    assert select_examples(predictions([0] * right + [1] * wrong, [0] * (right + wrong), 2)) == expected


def failed_checks(given: Predictions, settings: Evaluate = STARTER_SETTINGS) -> list[str]:
    """The names of the failed gate checks of these predictions."""
    metrics = summarise(given, [f"c{number}" for number in range(given.class_count)])
    checks = gate.check_floors(metrics | {"agreement": GOOD["agreement"]}, 5.0, settings)
    return [check.name for check in checks if not check.passed]


def test_always_the_commonest_class_is_refused_however_often_that_is_right() -> None:
    actual = [0] * 72 + [1] * 2
    metrics = summarise(predictions([0] * 74, actual, 2), ["cat", "dog"])
    assert (metrics["top1"], metrics["recall_macro"]) == (0.97297, 0.5)
    assert metrics["majority"] == {"class": "cat", "share": 0.97297}
    assert failed_checks(predictions([0] * 74, actual, 2)) == ["recall", "majority"]
    assert failed_checks(predictions(actual, actual, 2)) == []
    assert failed_checks(predictions([1, *actual[1:]], actual, 2)) == []
    # Two cats predicted as dogs: no better than the majority baseline.
    assert failed_checks(predictions([1, 1, *actual[2:]], actual, 2)) == ["majority"]


def test_a_bundle_that_always_answers_the_same_does_not_pass(project: Project) -> None:
    write_candidate()
    for label, count in (("c0", 36), ("c1", 1)):
        for number in range(count):
            path = LAYOUT.test / label / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (255, 90, number)).save(path)
    given = predict_folder(Predictor.open(LAYOUT.bundle), LAYOUT.test)
    assert given.correct.mean() == 36 / 37
    assert failed_checks(given) == ["recall", "majority"]


def test_the_terminal_shows_the_baseline_and_what_is_never_answered() -> None:
    metrics = summarise(predictions([0] * 74, [0] * 72 + [1] * 2, 2), ["cat", "dog"])
    checks = gate.check_floors(metrics | {"agreement": GOOD["agreement"]}, 5.0, STARTER_SETTINGS)
    first, missed, refusal = terminal_lines(metrics | {"gate": gate.decide(checks)}, ["dog"])
    assert first == ("top-1 97.3%, mean recall 50.0% on 74 images; always answering 'cat' has top-1 97.3%")
    assert missed == "never answered: dog"
    assert "majority: top-1 0.9730 is below 0.9784" in refusal
    assert "recall: 0.5000 is below 0.6" in refusal


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10, 100])
@pytest.mark.parametrize("images", [20, 60, 400])
def test_the_starter_refuses_a_coin_flip_of_any_number_of_classes(classes: int, images: int) -> None:
    actual = np.arange(images) % classes
    for seed in range(10):
        guessed = np.random.default_rng(seed).integers(0, classes, images)
        assert failed_checks(predictions(list(guessed), list(actual), classes))
    for constant in (0, classes - 1):
        assert "majority" in failed_checks(predictions([constant] * images, list(actual), classes))
    # 80 % are correct.
    learned = np.where(np.random.default_rng(1).random(images) < 0.2, (actual + 1) % classes, actual)
    assert failed_checks(predictions(list(learned), list(actual), classes)) == []


def test_few_images_are_enough_for_a_model_without_a_mistake() -> None:
    assert failed_checks(predictions([0, 0, 1, 1], [0, 0, 1, 1], 2)) == []
    assert failed_checks(predictions([0, 1, 1, 1], [0, 0, 1, 1], 2)) == ["majority"]


@pytest.mark.parametrize(("classes", "measured"), [(2, False), (5, False), (6, True)])
def test_top_5_is_asked_only_where_there_are_more_than_five_classes(classes: int, measured: bool) -> None:
    actual = list(range(classes)) * 5
    metrics = summarise(predictions(actual, actual, classes), [str(number) for number in range(classes)])
    assert ("top5" in metrics) is ("top5_interval" in metrics) is measured
    checks = gate.check_floors(metrics | {"agreement": GOOD["agreement"]}, 5.0, SETTINGS)
    assert ("top5" in [check.name for check in checks]) is measured


def test_a_refusal_says_what_always_the_same_answer_has_right_and_how_to_do_without() -> None:
    checks = gate.check_floors(GOOD | {"majority": {"class": "cat", "share": 0.952}}, 5.0, SETTINGS)
    reason = next(check.reason for check in checks if check.name == "majority")
    assert "top-1 0.9500 is below 0.9760" in reason
    assert "always answering the commonest class is right on 0.9520" in reason
    assert "evaluate.min_over_majority: 0" in reason
    assert "the commonest" not in str(gate.check_floors(GOOD, 5.0, SETTINGS_WITHOUT)[3])


@pytest.mark.parametrize(
    ("images", "lost", "gained", "passed"),
    [
        (330, 0, 0, True),
        (330, 1, 0, True),
        (330, 2, 0, False),
        (330, 9, 8, True),
        (330, 0, 9, True),
        (1000, 5, 0, True),
        (1000, 6, 0, False),
        (1000, 12, 6, False),
        # With 40 images a single lost one is 2.5 points.
        (40, 1, 0, False),
    ],
)
def test_little_may_be_lost_to_8_bits(images: int, lost: int, gained: int, passed: bool) -> None:
    check = gate.check_quantisation(QuantisationLoss(images, lost, gained), SETTINGS)
    assert check.passed is passed
    low, high = metrics.paired_difference_interval(lost, gained, images)
    assert f"{100 * (lost - gained) / images:.2f} points of top-1 lost" in check.reason
    assert f"95 % interval {100 * low:.2f} to {100 * high:.2f}" in check.reason
    assert ("export.precision: float32" in check.reason) is not passed


@pytest.mark.parametrize(
    ("lost", "gained", "passed"),
    [(0, 0, True), (4, 0, True), (5, 0, False), (10, 9, True), (9, 20, True), (20, 8, False)],
)
def test_a_loss_counts_when_it_is_significant(lost: int, gained: int, passed: bool) -> None:
    check = gate.check_regression(PinnedComparison("f" * 64, 330, lost, gained), SETTINGS)
    assert check.passed is passed
    if not passed:
        assert f"of 330 images {lost} were right with the pinned ffffffffffff" in check.reason


def test_a_met_condition_reads_the_same_whatever_was_compared() -> None:
    # The report is in git: a clone in which this version is pinned must write the same bytes.
    assert gate.check_regression(None, SETTINGS) == gate.check_regression(
        PinnedComparison("f" * 64, 330, 3, 5), SETTINGS
    )


@pytest.fixture
def images(project: Project) -> Path:
    """Forty images in the test folders of two classes of the tiny bundle."""
    for label, colour in (("c0", (255, 90, 0)), ("c1", (90, 255, 0))):
        for number in range(20):
            path = LAYOUT.test / label / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (*colour[:2], number)).save(path)
    return LAYOUT.test


def compared(images: Path) -> tuple[PinnedComparison | None, str]:
    predictor = Predictor.open(LAYOUT.bundle)
    return compare_with_pinned(LAYOUT, predictor, predict_folder(predictor, images))


def test_nothing_pinned_is_nothing_to_compare(project: Project, images: Path) -> None:
    write_candidate()
    assert compared(images) == (None, "nothing is pinned to compare with")


def test_the_pinned_version_is_asked_about_the_same_images(registry: Registry, images: Path) -> None:
    write_candidate(steepness=4.0)
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    assert compared(images) == (None, "this is the pinned version")
    # A negative steepness predicts the weakest colour of an image: all are wrong.
    bad = write_candidate(steepness=-4.0)
    comparison, text = compared(images)
    assert comparison == PinnedComparison(Pin.read(LAYOUT.pin).digest, 40, lost=40, gained=0)
    assert "40 images lost" in text
    assert not gate.check_regression(comparison, SETTINGS).passed
    assert bad.digest != comparison.pinned


def test_a_pinned_version_that_is_not_here_is_said_loudly(registry: Registry, images: Path) -> None:
    write_candidate()
    write(LAYOUT.pin, Pin("tiny", 3, "e" * 64).to_bytes())
    comparison, text = compared(images)
    assert comparison is None
    assert text.startswith("NOT compared")
    assert "e" * 64 in text


def test_a_class_that_the_pinned_version_lacks_is_wrong_there(registry: Registry, images: Path) -> None:
    write_candidate()
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    write_candidate(steepness=5.0)
    (images / "c0").rename(images / "zebra")
    predictor = Predictor.open(LAYOUT.bundle)
    predictions = predict_folder(predictor, images, strict=False)
    assert compare_with_pinned(LAYOUT, predictor, predictions)[0] == PinnedComparison(
        Pin.read(LAYOUT.pin).digest, 40, 0, 0
    )
    assert predictions.correct.sum() == 20


def test_figures_of_known_answers(project: Project, images: Path) -> None:
    write_candidate()
    found = summarise(predict_folder(Predictor.open(LAYOUT.bundle), images), ["red", "green", "blue"])
    assert (found["images"], found["classes"], found["top1"]) == (40, 3, 1.0)
    assert found["majority"] == {"class": "red", "share": 0.5}
    assert found["top1_interval"] == [pytest.approx(0.912, abs=0.001), 1.0]
    assert (found["precision_macro"], found["recall_macro"], found["f1_macro"]) == (1.0, 1.0, 1.0)


def test_a_folder_that_is_no_class_is_refused(project: Project, images: Path) -> None:
    write_candidate()
    (images / "c0").rename(images / "zebra")
    with pytest.raises(DataRefused, match="zebra/: the model has no such class"):
        predict_folder(Predictor.open(LAYOUT.bundle), images)


def test_latency_is_in_milliseconds(project: Project, images: Path) -> None:
    write_candidate()
    measured = measure_latency(Predictor.open(LAYOUT.bundle), sorted(images.rglob("*.png"))[:3])
    assert 0 < measured["total_ms_p50"] <= measured["total_ms_p95"] < 1000
