"""The boxes of ISO media files (ISO/IEC 14496-12), of which AVIF and HEIC consist."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from serving.errors import ImageDamaged, ImageTruncated
from serving.model.formats.image_file import ElementCounter


@dataclass(frozen=True)
class Box:
    """One box: its type, its content, and the file offsets of box and content."""

    type: bytes
    content: memoryview
    offset: int
    content_offset: int

    def children(self, counter: ElementCounter, skip: int = 0) -> Iterator["Box"]:
        """The boxes inside it, after `skip` bytes of its own fields."""
        return parse_boxes(self.content[skip:], self.content_offset + skip, counter)


def parse_boxes(view: memoryview, view_offset: int, counter: ElementCounter) -> Iterator[Box]:
    """The boxes in `view`, which begins at byte `view_offset` of the file."""
    offset = 0
    while offset + 8 <= len(view):
        counter.increment()
        size, box_type = struct.unpack_from(">I4s", view, offset)
        header = 8
        if size == 1 and offset + 16 <= len(view):
            (size,), header = struct.unpack_from(">Q", view, offset + 8), 16
        end = len(view) if size == 0 else offset + size
        if size and size < header:
            raise ImageDamaged("a box is shorter than its own header")
        if end > len(view):
            raise ImageTruncated
        start = view_offset + offset
        yield Box(box_type, view[offset + header : end], start, start + header)
        offset = end


class BoxReader:
    """Reads big-endian integers from the content of a box."""

    def __init__(self, box: Box, offset: int = 0) -> None:
        self.view, self.offset = box.content, offset

    def read_uint(self, size: int) -> int:
        """An integer of `size` bytes; 0 if `size` is 0. Raises `ImageDamaged` at the end of the content."""
        self.offset += size
        if self.offset > len(self.view):
            raise ImageDamaged("a box breaks off")
        return int.from_bytes(self.view[self.offset - size : self.offset], "big")

    def read_version_and_flags(self) -> tuple[int, int]:
        """The first fields of a FullBox."""
        return self.read_uint(1), self.read_uint(3)


class BitReader:
    """Reads bits of a video header, the highest one first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._remaining = int.from_bytes(data, "big"), 8 * len(data)

    def read_bits(self, count: int) -> int:
        """The next `count` bits as an integer."""
        self._remaining -= count
        if self._remaining < 0:
            raise ImageDamaged("a video header breaks off")
        return self._value >> self._remaining & (1 << count) - 1

    def read_exp_golomb(self) -> int:
        """An unsigned integer in Exp-Golomb code (ITU H.265, 9.2)."""
        zeros = 0
        while not self.read_bits(1):
            zeros += 1
            if zeros > 32:
                raise ImageDamaged("a video header holds a number without an end")
        return (1 << zeros) - 1 + self.read_bits(zeros)
