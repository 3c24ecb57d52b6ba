"""Finds out from labelled photos whether the class names are in the order of the network's outputs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics import one_sided_mcnemar_p_value

# Level of the test that says that the names are in another order.
SIGNIFICANCE = 0.001

ClassNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelOrder:
    """Another order of the labels: output `i` is the class `order[i]`.

    `photos`, `given` and `found` count the photos that were used to test it, and those that are right in the
    given and in this order.
    """

    name: str
    order: tuple[int, ...]
    photos: int
    given: int
    found: int


def find_label_order(
    predicted: ClassNumbers, actual: ClassNumbers, labels: Sequence[str]
) -> LabelOrder | None:
    """The order that is clearly better than the given one, if there is one.

    First the usual orders of names are tried. Otherwise an order is fitted on every other photo of each class
    and tested on the rest, because a fitted order is always good for the photos it was fitted on.
    """
    tested = [
        _test(name, order, predicted, actual)
        for name, order in _usual_orders(labels)
        if order != tuple(range(len(labels)))
    ]
    fit, rest = _halves(actual)
    if len(rest):
        order = _best_assignment(predicted[fit], actual[fit], len(labels))
        tested.append(_test("no usual order", order, predicted[rest], actual[rest]))
    clear = [order for order, p_value in tested if p_value < SIGNIFICANCE / len(tested)]
    return max(clear, key=lambda order: order.found / order.photos, default=None)


def _usual_orders(labels: Sequence[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Orders that programs give class names; `image_dataset_from_directory` sorts '10' before '2'."""
    indices = range(len(labels))

    def by_number(text: str) -> list[tuple[int, str]]:
        # Digits compare as numbers, all else as text in lower case.
        return [
            (int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"(\d+)", text.lower())
            if part
        ]

    yield "sorted as text", tuple(sorted(indices, key=lambda index: labels[index]))
    yield "sorted without case", tuple(sorted(indices, key=lambda index: labels[index].lower()))
    yield "sorted by number", tuple(sorted(indices, key=lambda index: by_number(labels[index])))
    yield "reversed", tuple(reversed(indices))


def _test(
    name: str, order: tuple[int, ...], predicted: ClassNumbers, actual: ClassNumbers
) -> tuple[LabelOrder, float]:
    """The order with its counts, and McNemar's p-value against the given order."""
    given, found = predicted == actual, np.array(order)[predicted] == actual
    p_value = one_sided_mcnemar_p_value(int((found & ~given).sum()), int((given & ~found).sum()))
    return LabelOrder(name, order, len(actual), int(given.sum()), int(found.sum())), p_value


def _halves(actual: ClassNumbers) -> tuple[list[int], list[int]]:
    """Indices of every other photo of each class, and of the rest."""
    halves: tuple[list[int], list[int]] = ([], [])
    seen: dict[int, int] = {}
    for index, label in enumerate(actual.tolist()):
        number = seen.get(label, 0)
        seen[label] = number + 1
        halves[number % 2].append(index)
    return halves


def _best_assignment(predicted: ClassNumbers, actual: ClassNumbers, classes: int) -> tuple[int, ...]:
    """The one-to-one order with most right photos (Kuhn 1955); the given place where photos say nothing."""
    # Imported here because it takes half a second.
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    np.add.at(counts, (predicted, actual), 1)
    # Less than one photo, so that it decides ties only.
    _, order = linear_sum_assignment(counts + np.eye(classes) / (classes + 1), maximize=True)
    return tuple(int(number) for number in order)
