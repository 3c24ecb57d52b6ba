"""Which images train, which validate, which test: decided by their content.

An image's SHA-256 read as a fraction of 2^256 is its place between 0 and 1; below `test` it tests, in the
next `valid` it validates. So photos that are added or removed do not move the others. In a class so small
that a wanted split would stay empty, the image whose place comes next is taken; only it may move later.

By chance alone a class of 20 images has between 1 and 7 to test, where a fifth is wanted. `stratified` moves
as few images as bring each split near its share. No rule that looks at content alone can have both: a split
that no added photo ever changes is one that knows nothing of the other photos, and so nothing of shares.
"""

import math
from collections.abc import Iterable

SPLITS = ("train", "valid", "test")
# What a split may have more or less than its share, in images or as a part of it: where chance keeps within
# that, as it does in classes of thousands, nothing is moved.
SLACK_IMAGES, SLACK_SHARE = 1, 0.1


def assign(digests: Iterable[str], valid: float, test: float) -> dict[str, str]:
    """Gives each of one class's images, named by SHA-256 in hexadecimal, its split."""
    ordered = sorted(digests)
    splits = {digest: _bucket(digest, valid, test) for digest in ordered}
    for split, wanted in (("test", test), ("valid", valid)):
        if wanted > 0 and split not in splits.values():
            free = [digest for digest in ordered if splits[digest] == "train"]
            if len(free) > 1:
                splits[free[0]] = split
    return splits


def stratified(digests: Iterable[str], valid: float, test: float) -> dict[str, str]:
    """The same, with each split near its share of the class.

    In the order of places the first images test and the next validate. How many is what `assign` would say,
    within the slack. One more photo moves at most one other over the end of `test`, and two over that of
    `valid`.
    """
    ordered = sorted(digests)
    total, free = len(ordered), len(ordered) - (valid + test < 1)
    plain = [_bucket(digest, valid, test) for digest in ordered]
    testing = _near(plain.count("test"), test, total, free)
    validating = _near(plain[testing:].count("valid"), valid, total, free - testing)
    if valid + test >= 1:
        validating = total - testing
    names = ["test"] * testing + ["valid"] * validating
    return dict(zip(ordered, names + ["train"] * (total - len(names)), strict=True))


def _near(count: int, share: float, total: int, most: int) -> int:
    """The number that comes next to `count` and is near enough to `share` of `total`, at most `most`."""
    # Rounded, because 0.3 x 10 is 3.0000000000000004 in some orders of computing.
    wanted = round(share * total, 6)
    slack = max(SLACK_IMAGES, SLACK_SHARE * wanted)
    least = 1 if share > 0 else 0
    low, high = max(math.ceil(wanted - slack), least), max(math.floor(wanted + slack), least)
    return max(min(max(count, low), high if share > 0 else 0, most), 0)


def _bucket(digest: str, valid: float, test: float) -> str:
    place = int(digest, 16) / 16 ** len(digest)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"
