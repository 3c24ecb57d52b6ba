"""The boxes of ISO media files (ISO/IEC 14496-12), of which AVIF and HEIC consist."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats.image_file import Pieces


@dataclass(frozen=True)
class Box:
    """One box: what it is, its content, and where in the file box and content begin."""

    kind: bytes
    content: memoryview
    start: int
    inside: int

    def boxes(self, pieces: Pieces, skip: int = 0) -> Iterator["Box"]:
        """The boxes that it consists of, behind `skip` bytes of its own."""
        return boxes(self.content[skip:], self.inside + skip, pieces)


def boxes(view: memoryview, start: int, pieces: Pieces) -> Iterator[Box]:
    """The boxes of which `view` consists, which begins at byte `start` of the file."""
    at = 0
    while at + 8 <= len(view):
        pieces.count()
        size, kind = struct.unpack_from(">I4s", view, at)
        header = 8
        if size == 1 and at + 16 <= len(view):
            (size,), header = struct.unpack_from(">Q", view, at + 8), 16
        end = len(view) if size == 0 else at + size
        if size and size < header:
            raise ImageDamaged("a box is shorter than its own header")
        if end > len(view):
            raise ImageTruncated
        yield Box(kind, view[at + header : end], start + at, start + at + header)
        at = end


class Reader:
    """Takes big-endian numbers from the front of a box's content; a short one is damaged."""

    def __init__(self, box: Box, at: int = 0) -> None:
        self.view, self.at = box.content, at

    def take(self, size: int) -> int:
        """A number of `size` bytes, which is 0 if it has none."""
        self.at += size
        if self.at > len(self.view):
            raise ImageDamaged("a box breaks off")
        return int.from_bytes(self.view[self.at - size : self.at], "big")

    def full(self) -> tuple[int, int]:
        """Version and flags, with which many boxes begin."""
        return self.take(1), self.take(3)


class Bits:
    """Takes bits from the front of some bytes, as video headers want it."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise ImageDamaged("a video header breaks off")
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """An unsigned number in Exp-Golomb code (ITU H.265, 9.2)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise ImageDamaged("a video header holds a number without an end")
        return (1 << zeros) - 1 + self.take(zeros)
