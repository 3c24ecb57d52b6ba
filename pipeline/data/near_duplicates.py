"""Finds near-duplicates: images with different bytes that look the same, such as re-encoded ones."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from PIL import Image

from serving.model.decoder import Pixels

# Mean absolute difference of two thumbnails, in grey levels of 255, up to which images count as the same.
TOLERANCE = 4
# The 64-bit hash is cut into 4 bands. Re-encoding usually changes at most 3 bits, so one band stays equal.
BANDS, BAND_BITS = 4, 16
# Images of one bucket (an equal band) that are compared with each other. Blank images and scanned pages all
# share a bucket, and comparing 20,000 of them would take an hour.
MAX_COMPARED = 300
# Nearly all pairs of frames of a video are near-duplicates, so the number of pairs is limited.
MAX_PAIRS = 50_000


@dataclass(frozen=True)
class PerceptualHash:
    """A hash and a thumbnail that survive rescaling and re-encoding.

    `dhash` has 64 bits: is a cell of an 8 x 8 grid darker than its right neighbour? Source: Neal Krawetz,
    "Kind of Like That", 2013. Many similar images share it, so `thumbnail`, 16 x 16 grey, decides.
    """

    dhash: int
    thumbnail: bytes

    @classmethod
    def compute(cls, pixels: Pixels) -> Self:
        """The perceptual hash of uint8 [S,S,3]."""
        grey = Image.fromarray(pixels).convert("L")
        cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
        bits = np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes()
        return cls(int.from_bytes(bits), grey.resize((16, 16), Image.Resampling.BOX).tobytes())


def find_near_duplicates(hashes: Sequence[PerceptualHash]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of near-duplicates, each once, the smaller index first."""
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, image_hash in enumerate(hashes):
            buckets[image_hash.dhash >> band * BAND_BITS & (1 << BAND_BITS) - 1].append(index)
        for bucket in buckets.values():
            pairs.update(islice(_pairs_in_bucket(hashes, bucket), MAX_PAIRS - len(pairs)))
    yield from sorted(pairs)


def _pairs_in_bucket(hashes: Sequence[PerceptualHash], indices: list[int]) -> Iterator[tuple[int, int]]:
    # An even sample, so that every class is represented.
    compared = indices[:: -(-len(indices) // MAX_COMPARED)]
    thumbnails = np.array([np.frombuffer(hashes[index].thumbnail, np.uint8) for index in compared], np.int16)
    for row, index in enumerate(compared[:-1]):
        near = np.abs(thumbnails[row + 1 :] - thumbnails[row]).mean(axis=1) <= TOLERANCE
        yield from ((index, compared[row + 1 + int(offset)]) for offset in np.flatnonzero(near))
