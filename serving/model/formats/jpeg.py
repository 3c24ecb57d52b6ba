"""JPEG (ITU T.81): tables, frame and scans are kept, application data and comments removed.

A frame with one scan is decoded a few rows at a time, at a fraction of its size. A frame with several scans
is held in memory completely, at whatever size it is decoded: a progressive one, and a sequential one whose
first scan has fewer components than the frame.
"""

import re
import struct

from serving.errors import ImageDamaged, ImageFormatUnsupported, ImageTruncated
from serving.model.formats import exif
from serving.model.formats.image_file import ACCEPTED, Buffer, ElementCounter, ImageFile

SOI = b"\xff\xd8"
# Decoders skip any bytes before the next marker, and fill bytes of 0xFF in front of it.
MARKER = re.compile(rb"\xff([^\x00\xff])")
# Within a scan, 0xFF is followed by 0 (a stuffed byte) or by a restart marker.
SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
TABLES = frozenset({DHT, DQT, DRI})
# The application segments that define the colour space.
COLOUR_SEGMENTS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
APP1, APP2 = 0xE1, 0xE2
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
# Lossless, hierarchical and arithmetically coded frames, which no browser displays.
OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
XMP, MPF = b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"
# A progressive JPEG has about 10 scans. Each takes time for all pixels, and may have next to no bytes.
MAX_SCANS = 100


def matches(data: bytes) -> bool:
    """Does the file begin like a JPEG?"""
    return data.startswith(SOI + b"\xff")


def parse(data: bytes) -> ImageFile:
    """Walks to the first scan, and over all scans if the decoder processes more than one."""
    return _Parser(data).parse()


class _Parser:
    """`offset` is the current position, `kept` the parts for the decoder."""

    def __init__(self, data: bytes) -> None:
        self.data, self.view, self.offset = data, memoryview(data), len(SOI)
        self.counter = ElementCounter(len(data))
        self.kept: list[Buffer] = [SOI]
        self.format, self.size, self.components = "JPEG", (0, 0), 0
        self.has_several_scans, self.scans = False, 0
        self.exif_orientation: int | None = None
        self.xmp_orientation: int | None = None

    def parse(self) -> ImageFile:
        """Parses to the end of the first image, which may be before the end of the file."""
        while found := MARKER.search(self.data, self.offset):
            self.counter.increment()
            self.offset, marker = found.end(), found[1][0]
            if marker == EOI:
                self.kept.append(found[0])
                break
            if marker not in WITHOUT_LENGTH and self._parse_segment(marker):
                break
        if not self.scans:
            raise ImageTruncated
        return ImageFile(
            self.format,
            b"".join(self.kept),
            *self.size,
            self.exif_orientation or self.xmp_orientation or 1,
            decodes_scaled=not self.has_several_scans,
            scans=self.scans,
        )

    def _parse_segment(self, marker: int) -> bool:
        """Parses the segment of a marker. Returns True if the rest of the file is left to the decoder."""
        segment = self._read_segment()
        if marker == SOS:
            return self._parse_scan(segment)
        if marker in TABLES or segment[4:].tobytes().startswith(COLOUR_SEGMENTS.get(marker, SOI)):
            self.kept.append(segment)
        elif marker in OTHER_FRAMES:
            raise ImageFormatUnsupported("lossless or arithmetic JPEG", ACCEPTED)
        elif marker in (*SEQUENTIAL, PROGRESSIVE):
            self._parse_frame(marker, segment)
        elif marker in (APP1, APP2):
            self._parse_metadata(segment[4:].tobytes())
        return False

    def _read_segment(self) -> memoryview:
        """The segment with its marker, up to the end given by its length."""
        start = self.offset - 2
        length = int.from_bytes(self.view[self.offset : self.offset + 2], "big")
        self.offset += length
        if self.offset > len(self.data):
            raise ImageTruncated
        if length < 2:
            raise ImageDamaged("a segment is shorter than its own length")
        return self.view[start : self.offset]

    def _parse_frame(self, marker: int, segment: memoryview) -> None:
        if self.components or len(segment) < 10:
            raise ImageDamaged("it has two frames, or half of one")
        bits, height, width, self.components = struct.unpack_from(">BHHB", segment, 4)
        if bits != 8 or self.components not in (1, 3, 4) or not width * height:
            kind = f"JPEG with {bits} bits and {self.components} components of {width} x {height} pixels"
            raise ImageFormatUnsupported(kind, ACCEPTED)
        self.size, self.has_several_scans = (width, height), marker == PROGRESSIVE
        self.kept.append(segment)

    def _parse_scan(self, segment: memoryview) -> bool:
        """Keeps a scan. Returns True if it extends to the end of the file."""
        self.scans += 1
        if not self.components or len(segment) < 5:
            raise ImageDamaged("a scan has no frame")
        if self.scans > MAX_SCANS:
            raise ImageDamaged(f"it has more than {MAX_SCANS} scans")
        self.has_several_scans = self.has_several_scans or segment[4] < self.components
        end = SCAN_END.search(self.data, self.offset) if self.has_several_scans else None
        start, self.offset = self.offset, end.start() if end else len(self.data)
        self.kept += [segment, self.view[start : self.offset]]
        return end is None

    def _parse_metadata(self, content: bytes) -> None:
        if content.startswith(exif.PREFIX) and self.exif_orientation is None:
            self.exif_orientation = exif.orientation(content)
        elif content.startswith(XMP) and self.xmp_orientation is None:
            self.xmp_orientation = exif.orientation_in_xmp(content)
        elif content.startswith(MPF):
            # Multi-Picture Format: further images follow the first one, as many phones write them.
            self.format = "MPO"
