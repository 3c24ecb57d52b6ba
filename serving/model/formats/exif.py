"""The one thing of a picture's metadata that matters here: how it is to be turned.

Pillow reads all entries of a block, each with its data, which may be the same 64 kB for thousands of them.
"""

import re
import struct

ORIENTATION = 0x0112
# An entry has tag, type, number of values and, if it fits, the value.
ENTRY = 12
# Types of whole numbers, and how struct reads them at the start of the value.
WHOLE = {1: "B", 3: "H", 4: "I"}
XMP = re.compile(rb"""tiff:Orientation(?:=["']|>)([1-8])["'<]""")
PREFIX = b"Exif\0\0"


def orientation(block: bytes) -> int | None:
    """EXIF orientation, 1 to 8, from a TIFF block; None if it does not tell or is broken."""
    block = block.removeprefix(PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return None
    (number,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, min(start + 2 + number * ENTRY, len(block) - ENTRY + 1), ENTRY):
        tag, kind = struct.unpack_from(order + "HH", block, at)
        if tag == ORIENTATION:
            if kind not in WHOLE:
                return None
            (value,) = struct.unpack_from(order + WHOLE[kind], block, at + 8)
            return value if 1 <= value <= 8 else None
    return None


def orientation_in_xmp(packet: bytes) -> int | None:
    """The same from an XMP packet, as some programs write it instead."""
    found = XMP.search(packet)
    return int(found[1]) if found else None
