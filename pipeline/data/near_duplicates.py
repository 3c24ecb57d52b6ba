"""Pictures that look the same though their bytes differ: saved anew, scaled, or in another quality."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from PIL import Image

from serving.model.decoder import Pixels

# Grey levels, of 255, by which the thumbnails of one picture may differ on average when it is saved anew.
TOLERANCE = 4
# The hash is cut into four. Saving anew changes at most three of its bits as a rule, so one part stays.
PARTS, PART_BITS = 4, 16
# How many pictures that share such a part are compared with each other: empty ones and scans of pages all
# share it, and 20,000 of these would take an hour.
COMPARED = 300
# Pairs that are found at most: of the frames of a film nearly every two are one.
MOST = 50_000


@dataclass(frozen=True)
class Look:
    """What of a picture survives scaling and re-encoding.

    `hash` has 64 bits: is a cell of 8 x 8 darker than its right neighbour? Source: Neal Krawetz, "Kind of
    Like That", 2013. Many pictures of one kind share it, so `thumbnail`, 16 x 16 grey, decides.
    """

    hash: int
    thumbnail: bytes

    @classmethod
    def of(cls, pixels: Pixels) -> Self:
        """Takes the look of uint8 [S,S,3]."""
        grey = Image.fromarray(pixels).convert("L")
        cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
        bits = np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes()
        return cls(int.from_bytes(bits), grey.resize((16, 16), Image.Resampling.BOX).tobytes())


def alike(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Pairs of places whose pictures look the same, each once, the smaller place first."""
    seen: set[tuple[int, int]] = set()
    for part in range(PARTS):
        groups: dict[int, list[int]] = defaultdict(list)
        for place, look in enumerate(looks):
            groups[look.hash >> part * PART_BITS & (1 << PART_BITS) - 1].append(place)
        for group in groups.values():
            seen.update(islice(_alike_in(looks, group), MOST - len(seen)))
    yield from sorted(seen)


def _alike_in(looks: Sequence[Look], places: list[int]) -> Iterator[tuple[int, int]]:
    # Evenly from all, so that no class is left out.
    compared = places[:: -(-len(places) // COMPARED)]
    thumbnails = np.array([np.frombuffer(looks[place].thumbnail, np.uint8) for place in compared], np.int16)
    for row, place in enumerate(compared[:-1]):
        near = np.abs(thumbnails[row + 1 :] - thumbnails[row]).mean(axis=1) <= TOLERANCE
        yield from ((place, compared[row + 1 + int(other)]) for other in np.flatnonzero(near))
