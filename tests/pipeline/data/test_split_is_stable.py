"""The split depends on content: adding photos does not move the others."""

import hashlib
from collections import Counter

import pytest

from pipeline.data.split import assign_by_hash, assign_stratified

DIGESTS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def test_the_shares_are_those_asked_for() -> None:
    counts = Counter(assign_by_hash(DIGESTS, valid=0.1, test=0.2).values())
    assert counts["test"] == pytest.approx(400, abs=60)
    assert counts["valid"] == pytest.approx(200, abs=45)


def test_adding_and_removing_moves_nothing() -> None:
    some, all_of_them = assign_by_hash(DIGESTS[:1000], 0.1, 0.2), assign_by_hash(DIGESTS, 0.1, 0.2)
    assert all(all_of_them[digest] == split for digest, split in some.items())


def test_the_order_of_the_files_does_not_matter() -> None:
    assert assign_by_hash(reversed(DIGESTS), 0.1, 0.2) == assign_by_hash(DIGESTS, 0.1, 0.2)


@pytest.mark.parametrize("images", [3, 4, 10])
def test_a_small_class_has_all_splits(images: int) -> None:
    # The highest positions: by position alone all of them would be training images.
    high = sorted(DIGESTS)[-images:]
    assert set(assign_by_hash(high, 0.1, 0.2).values()) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("valid", "test", "expected"), [(0, 1, {"test"}), (0, 0, {"train"}), (1, 0, {"valid"})]
)
def test_the_ends_are_exact(valid: float, test: float, expected: set[str]) -> None:
    assert set(assign_by_hash(DIGESTS[:50], valid, test).values()) == expected


def test_the_last_image_is_not_taken_from_training() -> None:
    assert assign_by_hash(DIGESTS[5:6], 0.1, 0.2)[DIGESTS[5]] in {"train", "test", "valid"}
    only = [digest for digest in DIGESTS if int(digest, 16) / 16**64 > 0.5][:1]
    assert assign_by_hash(only, 0.1, 0.2) == {only[0]: "train"}


CLASSES = [
    [hashlib.sha256(f"{label} {number}".encode()).hexdigest() for number in range(300)]
    for label in range(200)
]


@pytest.mark.parametrize(("images", "slack"), [(10, 1), (20, 1), (50, 1), (100, 2), (300, 6)])
def test_stratified_shares_are_near_those_asked_for(images: int, slack: int) -> None:
    for digests in CLASSES:
        counts = Counter(assign_stratified(digests[:images], 0.1, 0.2).values())
        assert abs(counts["test"] - 0.2 * images) <= slack
        assert abs(counts["valid"] - 0.1 * images) <= max(1, slack / 2)


def test_by_place_alone_small_classes_are_far_from_their_share() -> None:
    counts = [Counter(assign_by_hash(digests[:20], 0.1, 0.2).values())["test"] for digests in CLASSES]
    assert min(counts) <= 1
    assert max(counts) >= 7


def test_one_more_photo_moves_hardly_any_other_of_a_stratified_class() -> None:
    moves = []
    for digests in CLASSES[:20]:
        for images in range(10, 120):
            before, after = (assign_stratified(digests[: images + more], 0.1, 0.2) for more in (0, 1))
            moves.append(sum(after[digest] != split for digest, split in before.items()))
    assert max(moves) <= 3
    assert sum(moves) / len(moves) < 0.7


def test_a_large_stratified_class_is_split_by_place_alone() -> None:
    digests = [digest for members in CLASSES[:20] for digest in members]
    assert assign_stratified(digests, 0.1, 0.2) == assign_by_hash(digests, 0.1, 0.2)


@pytest.mark.parametrize(
    ("images", "valid", "test", "expected"),
    [
        (1, 0.1, 0.2, {"train": 1}),
        (2, 0.1, 0.2, {"train": 1, "test": 1}),
        (3, 0.1, 0.2, {"train": 1, "test": 1, "valid": 1}),
        (7, 0.0, 1.0, {"test": 7}),
        (7, 0.0, 0.0, {"train": 7}),
        (20, 0.0, 0.5, {"train": 10, "test": 10}),
        (1, 0.05, 0.95, {"test": 1}),
    ],
)
def test_the_ends_of_a_stratified_class_are_exact(
    images: int, valid: float, test: float, expected: dict[str, int]
) -> None:
    counts = Counter(assign_stratified(CLASSES[0][:images], valid, test).values())
    assert counts.keys() == expected.keys()
    assert all(abs(counts[split] - wanted) <= 1 for split, wanted in expected.items())
