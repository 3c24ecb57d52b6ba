"""JPEG (ITU T.81): tables, frame and scans are kept; application data and comments are not.

A frame with one scan is decoded a few rows at a time, at a fraction of its size. One with several scans is
held in memory as a whole, at whatever size it is decoded: a progressive one, and a sequential one whose first
scan has fewer components than the frame.
"""

import re
import struct

from serving.errors import ImageDamaged, ImageFormatUnsupported, ImageTruncated
from serving.model.formats import exif
from serving.model.formats.image_file import ACCEPTED, PictureFile, Pieces, Span

SOI = b"\xff\xd8"
# Decoders pass over whatever lies before the next marker, which may be filled up with more bytes of 0xFF.
MARKER = re.compile(rb"\xff([^\x00\xff])")
# Within a scan 0xFF is followed by 0, or is a restart.
SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
TABLES = frozenset({DHT, DQT, DRI})
# The application segments that tell what the components mean.
COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
APP1, APP2 = 0xE1, 0xE2
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
# Lossless, hierarchical and arithmetically coded frames, which no browser shows.
OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
XMP, MPF = b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"
# A progressive picture has about 10 scans; each costs time over all pixels, and may have next to no bytes.
MAX_SCANS = 100


def accepts(data: bytes) -> bool:
    """Is it meant to be a JPEG?"""
    return data.startswith(SOI + b"\xff")


def read(data: bytes) -> PictureFile:
    """Walks to the first scan, and over all scans if the decoder will go through more than one."""
    return _Walk(data).run()


class _Walk:
    """One walk; `at` is where it is, `kept` what the decoder will get."""

    def __init__(self, data: bytes) -> None:
        self.data, self.view, self.at = data, memoryview(data), len(SOI)
        self.pieces = Pieces(len(data))
        self.kept: list[Span] = [SOI]
        self.format, self.size, self.components = "JPEG", (0, 0), 0
        self.several, self.scans = False, 0
        self.exif: int | None = None
        self.xmp: int | None = None

    def run(self) -> PictureFile:
        """To the end of the picture, wherever the file ends."""
        while found := MARKER.search(self.data, self.at):
            self.pieces.count()
            self.at, marker = found.end(), found[1][0]
            if marker == EOI:
                self.kept.append(found[0])
                break
            if marker not in WITHOUT_LENGTH and self._ends_with(marker):
                break
        if not self.scans:
            raise ImageTruncated
        orientation = self.exif or self.xmp or 1
        data = b"".join(self.kept)
        return PictureFile(
            self.format, data, *self.size, orientation, scaled=not self.several, passes=self.scans
        )

    def _ends_with(self, marker: int) -> bool:
        """Takes the segment of a marker. Is what follows left to the decoder?"""
        segment = self._segment()
        if marker == SOS:
            return self._scan(segment)
        if marker in TABLES or segment[4:].tobytes().startswith(COLOURS.get(marker, SOI)):
            self.kept.append(segment)
        elif marker in OTHER_FRAMES:
            raise ImageFormatUnsupported("lossless or arithmetic JPEG", ACCEPTED)
        elif marker in (*SEQUENTIAL, PROGRESSIVE):
            self._frame(marker, segment)
        elif marker in (APP1, APP2):
            self._metadata(segment[4:].tobytes())
        return False

    def _segment(self) -> memoryview:
        """From the marker to the end that the segment's length tells."""
        start, length = self.at - 2, int.from_bytes(self.view[self.at : self.at + 2], "big")
        self.at += length
        if self.at > len(self.data):
            raise ImageTruncated
        if length < 2:
            raise ImageDamaged("a segment is shorter than its own length")
        return self.view[start : self.at]

    def _frame(self, marker: int, segment: memoryview) -> None:
        if self.components or len(segment) < 10:
            raise ImageDamaged("it has two frames, or half of one")
        bits, height, width, self.components = struct.unpack_from(">BHHB", segment, 4)
        if bits != 8 or self.components not in (1, 3, 4) or not width * height:
            kind = f"JPEG with {bits} bits and {self.components} components of {width} x {height} pixels"
            raise ImageFormatUnsupported(kind, ACCEPTED)
        self.size, self.several = (width, height), marker == PROGRESSIVE
        self.kept.append(segment)

    def _scan(self, segment: memoryview) -> bool:
        self.scans += 1
        if not self.components or len(segment) < 5:
            raise ImageDamaged("a scan has no frame")
        if self.scans > MAX_SCANS:
            raise ImageDamaged(f"it has more than {MAX_SCANS} scans")
        self.several = self.several or segment[4] < self.components
        end = SCAN_END.search(self.data, self.at) if self.several else None
        start, self.at = self.at, end.start() if end else len(self.data)
        self.kept += [segment, self.view[start : self.at]]
        return end is None

    def _metadata(self, content: bytes) -> None:
        if content.startswith(exif.PREFIX) and self.exif is None:
            self.exif = exif.orientation(content)
        elif content.startswith(XMP) and self.xmp is None:
            self.xmp = exif.orientation_in_xmp(content)
        elif content.startswith(MPF):
            # More pictures follow behind the first one, as many phones write them.
            self.format = "MPO"
