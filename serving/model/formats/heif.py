"""AVIF and HEIC (ISO/IEC 23008-12): the primary image is kept, metadata and image sequences disabled.

Nothing is removed, because items are referenced by their file offsets. Boxes and items that are not needed
get the type `free`, which decoders skip. An image may consist of tiles, each an item of its own.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from serving.errors import ImageDamaged, ImageFormatUnsupported, ImageTruncated
from serving.model.formats.image_file import ACCEPTED, ElementCounter, ImageFile
from serving.model.formats.iso_boxes import Box, BoxReader, parse_boxes
from serving.model.formats.video_headers import Size, av1_sizes, hevc_sizes

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
# Brands of the container alone; the list of compatible brands that follows names the coding format.
CONTAINER_BRANDS = frozenset({b"mif1", b"msf1"})
MAX_FTYP_BYTES = 1024
AV1, HEVC, GRID = b"av01", b"hvc1", b"grid"
IMAGE_ITEMS = frozenset({AV1, HEVC, GRID})
# The type of a box that decoders skip.
FREE = b"free"
# The extents of all items together may have this many times the size of the file.
MAX_EXTENT_RATIO = 2
# EXIF orientation by the number of quarter turns to the left and the axis of a mirror.
ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def is_avif(data: bytes) -> bool:
    """Does the file begin like an AVIF?"""
    return _has_brand(data, AVIF_BRANDS)


def is_heic(data: bytes) -> bool:
    """Does the file begin like a HEIC?"""
    return _has_brand(data, HEIC_BRANDS)


def parse(data: bytes) -> ImageFile:
    """Walks over all boxes, and reads the frame sizes of the primary image's video data."""
    parser = _Parser(data)
    parser.parse()
    width, height = parser.size(parser.primary_item)
    images = (parser.primary_item, *parser.auxiliary_items())
    decoded_pixels = max(sum(parser.tile_pixels(item)) for item in images)
    # HEIC's decoder applies the rotation itself.
    name, orientation = ("AVIF", parser.orientation()) if is_avif(data) else ("HEIC", 1)
    return ImageFile(name, bytes(parser.data), width, height, orientation, decoded_pixels=decoded_pixels)


def _has_brand(data: bytes, brands: frozenset[bytes]) -> bool:
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), len(data), MAX_FTYP_BYTES)
    compatible = {data[start : start + 4] for start in range(16, end - 3, 4)}
    return not brands.isdisjoint(compatible if data[8:12] in CONTAINER_BRANDS else {data[8:12]})


@dataclass
class _Parser:
    """The items of a file, by their ids. `data` is a copy of the file with the unneeded parts disabled."""

    original: bytes
    primary_item: int = -1
    item_types: dict[int, bytes] = field(default_factory=dict)
    extents: dict[int, list[memoryview]] = field(default_factory=lambda: defaultdict(list))
    properties: list[Box] = field(default_factory=list)
    associations: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.data, self.counter = bytearray(self.original), ElementCounter(len(self.original))
        self.remaining_bytes = MAX_EXTENT_RATIO * len(self.original)

    def parse(self) -> None:
        """Reads all boxes that matter, and disables the others."""
        for box in parse_boxes(memoryview(self.original), 0, self.counter):
            if box.type == b"ftyp":
                still = bytes(box.content).replace(b"avis", b"avif")
                self.data[box.content_offset : box.content_offset + len(still)] = still
            elif box.type == b"meta":
                self._parse_meta(box)
            elif box.type != b"mdat":
                self.data[box.offset + 4 : box.offset + 8] = FREE
        if self.item_types.get(self.primary_item) not in IMAGE_ITEMS:
            name = "AVIF" if is_avif(self.original) else "HEIC"
            raise ImageFormatUnsupported(f"{name} without a still image", ACCEPTED)

    def size(self, item: int) -> Size:
        """Width and height of an item, from its properties."""
        for box in self._properties(item, b"ispe"):
            reader = BoxReader(box)
            reader.read_version_and_flags()
            return reader.read_uint(4), reader.read_uint(4)
        raise ImageDamaged("an item has no size")

    def orientation(self) -> int:
        """EXIF orientation of the primary image."""
        turns = [BoxReader(box).read_uint(1) & 3 for box in self._properties(self.primary_item, b"irot")]
        axes = [BoxReader(box).read_uint(1) & 1 for box in self._properties(self.primary_item, b"imir")]
        return ORIENTATIONS[(turns or [0])[0], axes[0] if axes else None]

    def auxiliary_items(self) -> list[int]:
        """Alpha channel, depth map and other auxiliary images of the primary image."""
        return [
            item
            for (reference_type, item), targets in self.references.items()
            if reference_type == b"auxl" and self.primary_item in targets
        ]

    def tile_pixels(self, item: int) -> list[int]:
        """The number of pixels of each tile of an item, by container and video data, whichever is larger."""
        tiles = self.references[b"dimg", item] if self.item_types.get(item) == GRID else [item]
        pixels: dict[int, int] = {}
        for tile in tiles:
            if tile not in pixels:
                sizes = [self.size(tile), *self._video_sizes(tile)]
                pixels[tile] = max(width * height for width, height in sizes)
        return [pixels[tile] for tile in tiles]

    def _video_sizes(self, item: int) -> Iterator[Size]:
        data = memoryview(b"".join(self.extents[item]))
        for box in self._properties(item, b"av1C"):
            yield from av1_sizes(box.content[4:], self.counter)
            yield from av1_sizes(data, self.counter)
        for box in self._properties(item, b"hvcC"):
            length_bytes = (BoxReader(box, 21).read_uint(1) & 3) + 1
            yield from hevc_sizes(data, length_bytes, self.counter)
            yield from self._sizes_in_configuration(BoxReader(box, 22))

    def _sizes_in_configuration(self, reader: BoxReader) -> Iterator[Size]:
        """The frame sizes in the arrays of NAL units of an `hvcC` box, each with its length in two bytes."""
        for _ in range(reader.read_uint(1)):
            reader.read_uint(1)
            for _ in range(reader.read_uint(2)):
                start = reader.offset
                reader.read_uint(reader.read_uint(2))
                yield from hevc_sizes(reader.view[start : reader.offset], 2, self.counter)

    def _properties(self, item: int, box_type: bytes) -> list[Box]:
        """The properties of a type that are associated with an item. Indices count from 1."""
        indices = [index - 1 for index in self.associations[item] if 0 < index <= len(self.properties)]
        return [self.properties[index] for index in indices if self.properties[index].type == box_type]

    def _parse_meta(self, meta: Box) -> None:
        boxes = {box.type: box for box in meta.children(self.counter, skip=4)}
        if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= set(boxes):
            return
        reader = BoxReader(boxes[b"pitm"])
        self.primary_item = reader.read_uint(2 if reader.read_version_and_flags()[0] == 0 else 4)
        self._parse_item_infos(boxes[b"iinf"])
        item_data = boxes[b"idat"].content if b"idat" in boxes else memoryview(b"")
        self._parse_item_locations(BoxReader(boxes[b"iloc"]), item_data)
        for box in boxes[b"iprp"].children(self.counter):
            if box.type == b"ipco":
                self.properties = list(box.children(self.counter))
            elif box.type == b"ipma":
                self._parse_associations(BoxReader(box))
        if b"iref" in boxes:
            self._parse_references(boxes[b"iref"])

    def _parse_item_infos(self, box: Box) -> None:
        count_bytes = 2 if BoxReader(box).read_uint(1) == 0 else 4
        for entry in box.children(self.counter, skip=4 + count_bytes):
            reader = BoxReader(entry)
            version, _ = reader.read_version_and_flags()
            item = reader.read_uint(2 if version < 3 else 4)
            reader.read_uint(2)
            offset, item_type = reader.offset, reader.read_uint(4).to_bytes(4, "big")
            self.item_types[item] = item_type
            if item_type not in IMAGE_ITEMS:
                self.data[entry.content_offset + offset : entry.content_offset + offset + 4] = FREE

    def _parse_item_locations(self, reader: BoxReader, item_data: memoryview) -> None:
        version, _ = reader.read_version_and_flags()
        field_sizes = reader.read_uint(2)
        offset_bytes, length_bytes = (field_sizes >> 12) & 15, (field_sizes >> 8) & 15
        base_bytes, index_bytes = (field_sizes >> 4) & 15, field_sizes & 15 if version else 0
        # By construction method: file offset, offset in the `idat` box, offset in another item.
        sources = (memoryview(self.original), item_data, None)
        for _ in range(reader.read_uint(2 if version < 2 else 4)):
            item = reader.read_uint(2 if version < 2 else 4)
            method = reader.read_uint(2) & 15 if version else 0
            reader.read_uint(2)
            base = reader.read_uint(base_bytes)
            for _ in range(reader.read_uint(2)):
                self.counter.increment()
                reader.read_uint(index_bytes)
                start, length = base + reader.read_uint(offset_bytes), reader.read_uint(length_bytes)
                self._add_extent(item, sources[min(method, 2)], start, length)

    def _add_extent(self, item: int, source: memoryview | None, start: int, length: int) -> None:
        """Adds a part of an item's data; a length of 0 extends to the end of the source."""
        if source is None:
            raise ImageDamaged("an item is a part of another one")
        if start + length > len(source):
            raise ImageTruncated
        self.remaining_bytes -= length or len(source) - start
        if self.remaining_bytes < 0:
            raise ImageDamaged("its items refer to the same bytes again and again")
        self.extents[item].append(source[start : start + length] if length else source[start:])

    def _parse_associations(self, reader: BoxReader) -> None:
        version, flags = reader.read_version_and_flags()
        for _ in range(reader.read_uint(4)):
            item = reader.read_uint(2 if version == 0 else 4)
            for _ in range(reader.read_uint(1)):
                self.counter.increment()
                # The highest bit marks an essential property.
                index = reader.read_uint(2) & 0x7FFF if flags & 1 else reader.read_uint(1) & 0x7F
                self.associations[item].append(index)

    def _parse_references(self, box: Box) -> None:
        id_bytes = 2 if BoxReader(box).read_uint(1) == 0 else 4
        for entry in box.children(self.counter, skip=4):
            reader = BoxReader(entry)
            item = reader.read_uint(id_bytes)
            for _ in range(reader.read_uint(2)):
                self.counter.increment()
                self.references[entry.type, item].append(reader.read_uint(id_bytes))
