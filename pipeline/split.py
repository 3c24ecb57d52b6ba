"""Which images train, which validate, which test: decided by their content, once and for all.

An image's SHA-256 read as a fraction of 2^256 is its place between 0 and 1; below `test` it tests, in the
next `valid` it validates. So photos that are added or removed do not move the others. In a class so small
that a wanted split would stay empty, the image whose place comes next is taken; only it may move later.
"""

from collections.abc import Iterable

SPLITS = ("train", "valid", "test")


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


def _bucket(digest: str, valid: float, test: float) -> str:
    place = int(digest, 16) / 16 ** len(digest)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"
