"""Assigns images to splits by their content.

An image's SHA-256, read as a fraction of 2^256, is its position between 0 and 1. Positions below `test` are
test images, the next `valid` are validation images. So added or removed photos do not move the others. If a
wanted split of a small class would be empty, it gets the image with the next position; only that one may move
later.

By chance alone, a class of 20 images has between 1 and 7 test images where a fifth is wanted.
`assign_stratified` moves as few images as needed to bring each split near its share. No rule that depends on
content alone can do both: a split that no added photo ever changes cannot depend on the number of photos.
"""

import math
from collections.abc import Iterable

SPLITS = ("train", "valid", "test")
# Allowed deviation of a split from its share, in images and as a fraction of it; the larger one counts. In
# classes of thousands chance alone stays within it, and nothing is moved.
SLACK_IMAGES, SLACK_SHARE = 1, 0.1


def assign_by_hash(digests: Iterable[str], valid: float, test: float) -> dict[str, str]:
    """Maps the SHA-256 (hexadecimal) of each image of one class to its split."""
    ordered = sorted(digests)
    splits = {digest: _split_at(digest, valid, test) for digest in ordered}
    for split, wanted in (("test", test), ("valid", valid)):
        if wanted > 0 and split not in splits.values():
            free = [digest for digest in ordered if splits[digest] == "train"]
            if len(free) > 1:
                splits[free[0]] = split
    return splits


def assign_stratified(digests: Iterable[str], valid: float, test: float) -> dict[str, str]:
    """Like `assign_by_hash`, with each split near its share of the class.

    In the order of positions, the first images are for test and the next for validation. Their numbers are
    those of `assign_by_hash`, limited to the allowed deviation. One added photo moves at most one other
    across the end of `test`, and at most two across the end of `valid`.
    """
    ordered = sorted(digests)
    total, free = len(ordered), len(ordered) - (valid + test < 1)
    by_hash = [_split_at(digest, valid, test) for digest in ordered]
    testing = _clamp(by_hash.count("test"), test, total, free)
    validating = _clamp(by_hash[testing:].count("valid"), valid, total, free - testing)
    if valid + test >= 1:
        validating = total - testing
    names = ["test"] * testing + ["valid"] * validating
    return dict(zip(ordered, names + ["train"] * (total - len(names)), strict=True))


def _clamp(count: int, share: float, total: int, most: int) -> int:
    """The number nearest to `count` within the allowed deviation from `share` of `total`, at most `most`."""
    # Rounded, because 0.3 x 10 gives 3.0000000000000004 in some orders of evaluation.
    wanted = round(share * total, 6)
    slack = max(SLACK_IMAGES, SLACK_SHARE * wanted)
    least = 1 if share > 0 else 0
    low, high = max(math.ceil(wanted - slack), least), max(math.floor(wanted + slack), least)
    return max(min(max(count, low), high if share > 0 else 0, most), 0)


def _split_at(digest: str, valid: float, test: float) -> str:
    position = int(digest, 16) / 16 ** len(digest)
    if position < test:
        return "test"
    return "valid" if position < test + valid else "train"
