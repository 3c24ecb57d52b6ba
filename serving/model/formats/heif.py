"""AVIF and HEIC (ISO/IEC 23008-12): the primary picture is kept; metadata and films are not.

Nothing is cut out, because items are found by their place in the file: boxes and items that are not wanted
get a name that decoders pass over. A picture may consist of tiles, each an item of its own.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from serving.errors import ImageDamaged, ImageFormatUnsupported, ImageTruncated
from serving.model.formats.image_file import ACCEPTED, PictureFile, Pieces
from serving.model.formats.iso_boxes import Box, Reader, boxes
from serving.model.formats.video_headers import Size, av1_sizes, hevc_sizes

AVIF = frozenset({b"avif", b"avis"})
HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
# Brands of the container alone: the compatible ones, which follow, say what is in it.
CONTAINER = frozenset({b"mif1", b"msf1"})
BRANDS_END = 1024
AV1, HEVC, GRID = b"av01", b"hvc1", b"grid"
ITEMS = frozenset({AV1, HEVC, GRID})
# The name of what decoders pass over.
UNUSED = b"free"
# All items together may refer to so many times the bytes of the file.
MAX_REFERENCES = 2
# How stored pixels become upright ones: EXIF orientation by quarter turns to the left and axis of a mirror.
ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def is_avif(data: bytes) -> bool:
    """Is it meant to be an AVIF?"""
    return _has_brand(data, AVIF)


def is_heic(data: bytes) -> bool:
    """Is it meant to be a HEIC?"""
    return _has_brand(data, HEIC)


def read(data: bytes) -> PictureFile:
    """Walks over all boxes, and asks the video data of the primary picture for their size."""
    meta = _Walk(data).run()
    width, height = meta.size(meta.primary)
    pixels = max(sum(meta.parts(item)) for item in (meta.primary, *meta.auxiliary()))
    # HEIC's decoder turns the picture by itself.
    kind, orientation = ("AVIF", meta.orientation()) if is_avif(data) else ("HEIC", 1)
    return PictureFile(kind, bytes(meta.data), width, height, orientation, pixels=pixels)


def _has_brand(data: bytes, brands: frozenset[bytes]) -> bool:
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), len(data), BRANDS_END)
    compatible = {data[at : at + 4] for at in range(16, end - 3, 4)}
    return not brands.isdisjoint(compatible if data[8:12] in CONTAINER else {data[8:12]})


@dataclass
class _Walk:
    """What the boxes tell of the items, by their numbers."""

    original: bytes
    primary: int = -1
    kinds: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[memoryview]] = field(default_factory=lambda: defaultdict(list))
    properties: list[Box] = field(default_factory=list)
    used: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> "_Walk":
        """Reads all boxes that matter, and renames those that are not wanted in a copy of the file."""
        self.data, self.pieces = bytearray(self.original), Pieces(len(self.original))
        self.left = MAX_REFERENCES * len(self.original)
        for box in boxes(memoryview(self.original), 0, self.pieces):
            if box.kind == b"ftyp":
                still = bytes(box.content).replace(b"avis", b"avif")
                self.data[box.inside : box.inside + len(still)] = still
            elif box.kind == b"meta":
                self._meta(box)
            elif box.kind != b"mdat":
                self.data[box.start + 4 : box.start + 8] = UNUSED
        if self.kinds.get(self.primary) not in ITEMS:
            kind = "AVIF" if is_avif(self.original) else "HEIC"
            raise ImageFormatUnsupported(f"{kind} without a still picture", ACCEPTED)
        return self

    def size(self, item: int) -> Size:
        """Width and height of an item, by its properties."""
        for box in self._properties(item, b"ispe"):
            reader = Reader(box)
            reader.full()
            return reader.take(4), reader.take(4)
        raise ImageDamaged("an item has no size")

    def orientation(self) -> int:
        """EXIF orientation of the primary picture."""
        turns = [Reader(box).take(1) & 3 for box in self._properties(self.primary, b"irot")]
        axes = [Reader(box).take(1) & 1 for box in self._properties(self.primary, b"imir")]
        return ORIENTATIONS[(turns or [0])[0], axes[0] if axes else None]

    def auxiliary(self) -> list[int]:
        """Transparency and the like of the primary picture."""
        return [
            item for (kind, item), to in self.references.items() if kind == b"auxl" and self.primary in to
        ]

    def parts(self, item: int) -> list[int]:
        """The pixels of each tile that an item consists of, by its own video data."""
        tiles = self.references[b"dimg", item] if self.kinds.get(item) == GRID else [item]
        known: dict[int, int] = {}
        for tile in tiles:
            if tile not in known:
                sizes = [self.size(tile), *self._video_sizes(tile)]
                known[tile] = max(width * height for width, height in sizes)
        return [known[tile] for tile in tiles]

    def _video_sizes(self, item: int) -> Iterator[Size]:
        data = memoryview(b"".join(self.extents[item]))
        for box in self._properties(item, b"av1C"):
            yield from av1_sizes(box.content[4:], self.pieces)
            yield from av1_sizes(data, self.pieces)
        for box in self._properties(item, b"hvcC"):
            length_bytes = (Reader(box, 21).take(1) & 3) + 1
            yield from hevc_sizes(data, length_bytes, self.pieces)
            yield from self._configured_sizes(Reader(box, 22))

    def _configured_sizes(self, reader: Reader) -> Iterator[Size]:
        """From arrays of HEVC units, each with its length in two bytes."""
        for _ in range(reader.take(1)):
            reader.take(1)
            for _ in range(reader.take(2)):
                start = reader.at
                reader.take(reader.take(2))
                yield from hevc_sizes(reader.view[start : reader.at], 2, self.pieces)

    def _properties(self, item: int, kind: bytes) -> list[Box]:
        indices = [index - 1 for index in self.used[item] if 0 < index <= len(self.properties)]
        return [self.properties[index] for index in indices if self.properties[index].kind == kind]

    def _meta(self, meta: Box) -> None:
        found = {box.kind: box for box in meta.boxes(self.pieces, skip=4)}
        if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= set(found):
            return
        reader = Reader(found[b"pitm"])
        self.primary = reader.take(2 if reader.full()[0] == 0 else 4)
        self._items(found[b"iinf"])
        self._places(Reader(found[b"iloc"]), found[b"idat"].content if b"idat" in found else memoryview(b""))
        for box in found[b"iprp"].boxes(self.pieces):
            if box.kind == b"ipco":
                self.properties = list(box.boxes(self.pieces))
            elif box.kind == b"ipma":
                self._associations(Reader(box))
        if b"iref" in found:
            self._references(found[b"iref"])

    def _items(self, box: Box) -> None:
        number = 2 if Reader(box).take(1) == 0 else 4
        for entry in box.boxes(self.pieces, skip=4 + number):
            reader = Reader(entry)
            version, _ = reader.full()
            item = reader.take(2 if version < 3 else 4)
            reader.take(2)
            at, kind = reader.at, reader.take(4).to_bytes(4, "big")
            self.kinds[item] = kind
            if kind not in ITEMS:
                self.data[entry.inside + at : entry.inside + at + 4] = UNUSED

    def _places(self, reader: Reader, inside: memoryview) -> None:
        version, _ = reader.full()
        widths = reader.take(2)
        offset_bytes, length_bytes, base_bytes = (widths >> 12) & 15, (widths >> 8) & 15, (widths >> 4) & 15
        index_bytes = widths & 15 if version else 0
        for _ in range(reader.take(2 if version < 2 else 4)):
            item = reader.take(2 if version < 2 else 4)
            source = reader.take(2) & 15 if version else 0
            reader.take(2)
            base = reader.take(base_bytes)
            for _ in range(reader.take(2)):
                self.pieces.count()
                reader.take(index_bytes)
                start, length = base + reader.take(offset_bytes), reader.take(length_bytes)
                self._place(item, (memoryview(self.original), inside, None)[min(source, 2)], start, length)

    def _place(self, item: int, where: memoryview | None, start: int, length: int) -> None:
        if where is None:
            raise ImageDamaged("an item is a part of another one")
        if start + length > len(where):
            raise ImageTruncated
        self.left -= length or len(where) - start
        if self.left < 0:
            raise ImageDamaged("its items refer to the same bytes again and again")
        self.extents[item].append(where[start : start + length] if length else where[start:])

    def _associations(self, reader: Reader) -> None:
        version, flags = reader.full()
        for _ in range(reader.take(4)):
            item = reader.take(2 if version == 0 else 4)
            for _ in range(reader.take(1)):
                self.pieces.count()
                # The highest bit says whether the property is essential.
                self.used[item].append(reader.take(2) & 0x7FFF if flags & 1 else reader.take(1) & 0x7F)

    def _references(self, box: Box) -> None:
        width = 2 if Reader(box).take(1) == 0 else 4
        for entry in box.boxes(self.pieces, skip=4):
            reader = Reader(entry)
            item = reader.take(width)
            for _ in range(reader.take(2)):
                self.pieces.count()
                self.references[entry.kind, item].append(reader.take(width))
