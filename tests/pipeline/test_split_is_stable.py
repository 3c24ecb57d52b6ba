"""The split is decided by content: adding photos does not move the others."""

import hashlib
from collections import Counter

import pytest

from pipeline.split import assign

DIGESTS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def test_the_shares_are_those_asked_for() -> None:
    counts = Counter(assign(DIGESTS, valid=0.1, test=0.2).values())
    assert counts["test"] == pytest.approx(400, abs=60)
    assert counts["valid"] == pytest.approx(200, abs=45)


def test_adding_and_removing_moves_nothing() -> None:
    some, all_of_them = assign(DIGESTS[:1000], 0.1, 0.2), assign(DIGESTS, 0.1, 0.2)
    assert all(all_of_them[digest] == split for digest, split in some.items())


def test_the_order_of_the_files_does_not_matter() -> None:
    assert assign(reversed(DIGESTS), 0.1, 0.2) == assign(DIGESTS, 0.1, 0.2)


@pytest.mark.parametrize("images", [3, 4, 10])
def test_a_small_class_has_all_splits(images: int) -> None:
    # The highest places: by the plain rule all of them would train.
    high = sorted(DIGESTS)[-images:]
    assert set(assign(high, 0.1, 0.2).values()) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("valid", "test", "expected"), [(0, 1, {"test"}), (0, 0, {"train"}), (1, 0, {"valid"})]
)
def test_the_ends_are_exact(valid: float, test: float, expected: set[str]) -> None:
    assert set(assign(DIGESTS[:50], valid, test).values()) == expected


def test_the_last_image_is_not_taken_from_training() -> None:
    assert assign(DIGESTS[5:6], 0.1, 0.2)[DIGESTS[5]] in {"train", "test", "valid"}
    only = [digest for digest in DIGESTS if int(digest, 16) / 16**64 > 0.5][:1]
    assert assign(only, 0.1, 0.2) == {only[0]: "train"}
