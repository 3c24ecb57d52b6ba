"""The metrics, compared with scikit-learn, SciPy and values computed by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from pipeline.evaluation import metrics

RANDOM = np.random.default_rng(7)
ACTUAL = RANDOM.integers(0, 6, 200)
PROBABILITIES = RANDOM.dirichlet(np.ones(6), 200).astype(np.float32)
PREDICTED = PROBABILITIES.argmax(axis=1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ranks_give_top_k(k: int) -> None:
    ranks = [metrics.rank_of_class(row, actual) for row, actual in zip(PROBABILITIES, ACTUAL, strict=True)]
    assert (np.array(ranks) < k).mean() == pytest.approx(top_k_accuracy_score(ACTUAL, PROBABILITIES, k=k))


def test_equal_probabilities_rank_in_the_order_of_the_classes() -> None:
    flat = np.full(4, 0.25, dtype=np.float32)
    assert [metrics.rank_of_class(flat, actual) for actual in (0, 1, 3)] == [0, 1, 3]


def test_an_answer_that_is_no_number_comes_first_nowhere() -> None:
    broken = np.full(4, np.nan, dtype=np.float32)
    assert [metrics.rank_of_class(broken, actual) for actual in range(4)] == [4, 4, 4, 4]


def test_per_class_figures_are_those_of_scikit_learn() -> None:
    found = metrics.class_metrics(PREDICTED, ACTUAL, 6)
    precision, recall, f1, support = precision_recall_fscore_support(ACTUAL, PREDICTED, zero_division=0)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    assert found.macro == pytest.approx((precision.mean(), recall.mean(), f1.mean()))


def test_a_class_without_images_does_not_count() -> None:
    found = metrics.class_metrics(np.array([0, 1]), np.array([0, 1]), 3)
    assert found.macro == (1.0, 1.0, 1.0)


def test_the_majority_is_the_commonest_class_and_its_share() -> None:
    assert metrics.majority_class(np.array([2, 1, 2, 0])) == (2, 0.5)
    assert metrics.majority_class(np.array([1, 0])) == (0, 0.5)


@pytest.mark.parametrize(
    ("predicted", "actual", "expected"),
    [
        # Fisher's exact test, by hand: 1 of the 252 ways to choose five of ten; all of them; 26 of 252.
        ([0] * 5 + [1] * 5, [0] * 5 + [1] * 5, 1 / 252),
        ([0] * 10, [0] * 5 + [1] * 5, 1.0),
        ([1] + [0] * 4 + [1] * 4 + [0], [0] * 5 + [1] * 5, 26 / 252),
        # The only image of its class, among 21, is predicted correctly.
        ([0] * 20 + [1], [0] * 20 + [1], 1 / 21),
        ([0] * 72 + [0] * 2, [0] * 72 + [1] * 2, 1.0),
    ],
)
def test_how_probable_it_is_by_chance(predicted: list[int], actual: list[int], expected: float) -> None:
    found = metrics.permutation_p_value(np.array(predicted), np.array(actual))
    assert found == pytest.approx(expected, abs=0.02)
    assert found == metrics.permutation_p_value(np.array(predicted), np.array(actual))


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (5, 10), (10, 10), (897, 1000), (327, 330)])
def test_the_interval_is_wilsons(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert metrics.wilson_interval(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_without_images_nothing_is_known() -> None:
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


def test_calibration_by_hand() -> None:
    # Ten predictions at 0.95, nine of them correct, and ten at 0.65, five of them correct.
    confidence = np.array([0.95] * 10 + [0.65] * 10, dtype=np.float32)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    bins = metrics.calibration_bins(confidence, right)
    assert [(entry.images, entry.accuracy) for entry in bins] == [(10, 0.5), (10, 0.9)]
    assert metrics.expected_calibration_error(bins) == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


def test_full_confidence_has_a_bin() -> None:
    assert metrics.calibration_bins(np.ones(3, np.float32), np.ones(3, bool))[0].images == 3


def test_confusions_are_sorted_by_how_often() -> None:
    predicted, actual = np.array([1, 1, 2, 0, 0]), np.array([0, 0, 1, 0, 2])
    assert metrics.confusion_counts(predicted, actual) == [(0, 1, 2), (1, 2, 1), (2, 0, 1)]
    assert metrics.confusion_counts(actual, actual) == []


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 1), (10, 12), (30, 10), (600, 500)])
def test_the_loss_is_tested_exactly(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained, alternative="greater").pvalue if lost + gained else 1.0
    assert metrics.one_sided_mcnemar_p_value(lost, gained) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lost", "gained", "total", "expected"),
    [
        # By hand: p = 6/102 and 2/102, sqrt((8/102 - (4/102)**2) / 102) = 0.02746.
        (5, 1, 100, (-0.0146, 0.0930)),
        (0, 0, 330, (-0.00835, 0.00835)),
        (0, 0, 0, (-1.0, 1.0)),
        (10, 0, 10, (0.5206, 1.0)),
    ],
)
def test_the_paired_interval(lost: int, gained: int, total: int, expected: tuple[float, float]) -> None:
    assert metrics.paired_difference_interval(lost, gained, total) == pytest.approx(expected, abs=5e-5)
    low, high = metrics.paired_difference_interval(gained, lost, total)
    assert (-high, -low) == pytest.approx(expected, abs=5e-5)


def test_the_paired_interval_narrows_around_the_loss() -> None:
    widths = []
    for scale in (1, 10, 100, 1000):
        low, high = metrics.paired_difference_interval(3 * scale, scale, 100 * scale)
        assert low < 0.02 < high
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2] > widths[3]
    # Ten times the images, sqrt(10) times narrower: the two added images hardly count among many.
    assert widths[2] / widths[3] == pytest.approx(10**0.5, rel=0.01)


@pytest.mark.parametrize("shares", [(0.01, 0.01, 0.98), (0.03, 0.01, 0.96), (0.1, 0.3, 0.6)])
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(shares: tuple[float, float, float]) -> None:
    drawn = np.random.default_rng(3).multinomial(300, shares, 4000)
    truth = shares[0] - shares[1]
    intervals = [metrics.paired_difference_interval(int(lost), int(gained), 300) for lost, gained, _ in drawn]
    assert 0.94 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.99
