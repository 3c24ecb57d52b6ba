"""Reads the orientation from EXIF or XMP metadata, and nothing else.

Pillow reads all entries of an EXIF block with their data, which may be the same 64 kB for thousands of them.
"""

import re
import struct

ORIENTATION = 0x0112
# Bytes of an entry: tag, type, number of values and, if it fits, the value.
ENTRY_BYTES = 12
# Integer types, and their struct codes.
INTEGER_TYPES = {1: "B", 3: "H", 4: "I"}
XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:=["']|>)([1-8])["'<]""")
PREFIX = b"Exif\0\0"


def orientation(block: bytes) -> int | None:
    """EXIF orientation, 1 to 8, from a TIFF block; None if it is missing or damaged."""
    block = block.removeprefix(PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return None
    (number,) = struct.unpack_from(order + "H", block, start)
    end = min(start + 2 + number * ENTRY_BYTES, len(block) - ENTRY_BYTES + 1)
    for offset in range(start + 2, end, ENTRY_BYTES):
        tag, value_type = struct.unpack_from(order + "HH", block, offset)
        if tag == ORIENTATION:
            if value_type not in INTEGER_TYPES:
                return None
            (value,) = struct.unpack_from(order + INTEGER_TYPES[value_type], block, offset + 8)
            return value if 1 <= value <= 8 else None
    return None


def orientation_in_xmp(packet: bytes) -> int | None:
    """The orientation from an XMP packet, where some programs write it instead of EXIF."""
    found = XMP_ORIENTATION.search(packet)
    return int(found[1]) if found else None
