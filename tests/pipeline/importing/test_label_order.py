"""Labels in another order than the outputs are found on photos, and never where photos do not show it."""

import numpy as np
import pytest

from pipeline.importing.label_order import ClassNumbers, LabelOrder, find_label_order

NUMBERS = [str(number) for number in range(12)]


def predictions(
    order: list[int], photos_per_class: int, accuracy: float, seed: int = 1
) -> tuple[ClassNumbers, ClassNumbers]:
    """Columns predicted by a network whose output `i` is the class `order[i]`, and the actual classes."""
    random = np.random.default_rng(seed)
    actual = np.tile(np.arange(len(order)), photos_per_class)
    column = np.argsort(order)
    wrong = random.random(len(actual)) >= accuracy
    predicted = column[actual]
    predicted[wrong] = random.integers(0, len(order), wrong.sum())
    return predicted, actual


def find_order(pair: tuple[ClassNumbers, ClassNumbers], names: list[str]) -> LabelOrder | None:
    predicted, actual = pair
    return find_label_order(predicted, actual, names)


def test_names_sorted_as_text_are_recognised() -> None:
    """`image_dataset_from_directory` sorts "10" and "11" before "2"; two photos of each class suffice."""
    as_text = sorted(range(12), key=lambda number: NUMBERS[number])
    found = find_order(predictions(as_text, 2, 1.0), NUMBERS)
    assert found is not None
    assert (found.name, list(found.order)) == ("sorted as text", as_text)
    assert (found.given, found.found, found.photos) == (4, 24, 24)


def test_two_classes_the_wrong_way_round() -> None:
    found = find_order(predictions([1, 0], 20, 0.95), ["no", "yes"])
    assert found is not None
    assert found.order == (1, 0)
    assert found.found > 30 > found.given


def test_an_unusual_order_is_fitted_on_one_half_and_tested_on_the_other() -> None:
    names = ["cat", "dog", "emu", "fox", "gnu"]
    found = find_order(predictions([2, 4, 0, 1, 3], 12, 0.9), names)
    assert found is not None
    assert (found.name, found.order) == ("no usual order", (2, 4, 0, 1, 3))
    assert found.photos == 30


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_labels_in_order_are_left_alone(accuracy: float, seed: int) -> None:
    """Also for a network that guesses: an order that was fitted to chance does not hold for other photos."""
    order = list(range(10))
    predicted, actual = predictions(order, 8, accuracy, seed)
    assert find_label_order(predicted, actual, NUMBERS[:10]) is None


def test_one_photo_of_each_class_cannot_show_an_unusual_order() -> None:
    names = ["cat", "dog", "emu", "fox", "gnu"]
    assert find_order(predictions([2, 4, 0, 1, 3], 1, 1.0), names) is None
