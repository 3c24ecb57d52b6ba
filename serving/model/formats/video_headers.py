"""How large the pictures are that a video decoder will make, by its own headers.

The container states a size too, but decoders allocate what the video says and compare afterwards.
"""

from collections.abc import Iterator

from serving.errors import ImageDamaged
from serving.model.formats.image_file import Pieces
from serving.model.formats.iso_boxes import Bits

Size = tuple[int, int]
# What is read of the sequence headers of AV1 (AV1 specification, 5.5.1) and HEVC (ITU H.265, 7.3.2.2).
HEADER_BYTES = 256
# `chroma_format_idc` of HEVC: 4:2:0, which cameras use, and 4:4:4.
QUARTER_COLOUR, FULL_COLOUR = 1, 3
AV1_SEQUENCE_HEADER, HEVC_SEQUENCE_PARAMETERS = 1, 33


def av1_sizes(data: memoryview, pieces: Pieces) -> Iterator[Size]:
    """The sizes in all sequence headers of some AV1 data."""
    at = 0
    while at < len(data):
        pieces.count()
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        length, at = _leb128(data, at) if sized else (len(data) - at, at)
        if kind == AV1_SEQUENCE_HEADER:
            yield _av1_size(Bits(data[at : at + HEADER_BYTES].tobytes()))
        at += length


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise ImageDamaged("an AV1 unit has no length")


def _av1_size(bits: Bits) -> Size:
    """`sequence_header_obu` up to `max_frame_height_minus_1`."""
    bits.take(3 + 1)
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = 0
    timed = bits.take(1)
    modelled = 0
    if timed:
        bits.take(32 + 32)
        if bits.take(1):  # equal_picture_interval
            bits.golomb()
        modelled = bits.take(1)
        if modelled:
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    displayed = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if modelled and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if displayed and bits.take(1):
            bits.take(4)


def hevc_sizes(data: memoryview, length_bytes: int, pieces: Pieces) -> Iterator[Size]:
    """The sizes in all sequence parameter sets of HEVC units, each with its length before it."""
    at = 0
    while at + length_bytes < len(data):
        pieces.count()
        length = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if length and data[at] >> 1 & 63 == HEVC_SEQUENCE_PARAMETERS:
            yield _hevc_size(data[at : at + min(length, HEADER_BYTES)].tobytes())
        at += length


def _hevc_size(unit: bytes) -> Size:
    """`seq_parameter_set_rbsp` up to `pic_height_in_luma_samples`."""
    # A 3 after two zeros keeps them from being a start code.
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == FULL_COLOUR:
        bits.take(1)
    # With more colours than the usual quarter, as many bytes as twice the pixels have.
    return bits.golomb() * (2 if chroma > QUARTER_COLOUR else 1), bits.golomb()
