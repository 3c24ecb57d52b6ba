"""Reads the frame sizes from the sequence headers of AV1 and HEVC data.

The container declares a size too, but decoders allocate by the sequence header and compare afterwards.
"""

from collections.abc import Iterator

from serving.errors import ImageDamaged
from serving.model.formats.image_file import ElementCounter
from serving.model.formats.iso_boxes import BitReader

Size = tuple[int, int]
# Bytes that are read of a sequence header of AV1 (AV1 specification, 5.5.1) or HEVC (ITU H.265, 7.3.2.2).
HEADER_BYTES = 256
# Values of HEVC's `chroma_format_idc`; cameras use 4:2:0.
CHROMA_420, CHROMA_444 = 1, 3
AV1_SEQUENCE_HEADER, HEVC_SEQUENCE_PARAMETERS = 1, 33


def av1_sizes(data: memoryview, counter: ElementCounter) -> Iterator[Size]:
    """The frame sizes in all sequence headers of AV1 data."""
    offset = 0
    while offset < len(data):
        counter.increment()
        obu_type, has_extension, has_size = (
            data[offset] >> 3 & 15,
            data[offset] >> 2 & 1,
            data[offset] >> 1 & 1,
        )
        offset += 1 + has_extension
        length, offset = _read_leb128(data, offset) if has_size else (len(data) - offset, offset)
        if obu_type == AV1_SEQUENCE_HEADER:
            yield _read_av1_size(BitReader(data[offset : offset + HEADER_BYTES].tobytes()))
        offset += length


def _read_leb128(data: memoryview, offset: int) -> tuple[int, int]:
    """An integer in LEB128, and the offset behind it."""
    value = 0
    for index, byte in enumerate(data[offset : offset + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, offset + index + 1
    raise ImageDamaged("an AV1 unit has no length")


def _read_av1_size(bits: BitReader) -> Size:
    """Reads `sequence_header_obu` up to `max_frame_height_minus_1`."""
    bits.read_bits(3 + 1)
    if bits.read_bits(1):  # reduced_still_picture_header
        bits.read_bits(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read_bits(4) + 1, bits.read_bits(4) + 1
    return bits.read_bits(width_bits) + 1, bits.read_bits(height_bits) + 1


def _skip_operating_points(bits: BitReader) -> None:
    delay_bits = 0
    has_decoder_model = 0
    if bits.read_bits(1):  # timing_info_present_flag
        bits.read_bits(32 + 32)
        if bits.read_bits(1):  # equal_picture_interval
            bits.read_exp_golomb()
        has_decoder_model = bits.read_bits(1)
        if has_decoder_model:
            delay_bits = bits.read_bits(5) + 1
            bits.read_bits(32 + 5 + 5)
    has_display_delay = bits.read_bits(1)
    for _ in range(bits.read_bits(5) + 1):
        bits.read_bits(12)
        if bits.read_bits(5) > 7:
            bits.read_bits(1)
        if has_decoder_model and bits.read_bits(1):
            bits.read_bits(2 * delay_bits + 1)
        if has_display_delay and bits.read_bits(1):
            bits.read_bits(4)


def hevc_sizes(data: memoryview, length_bytes: int, counter: ElementCounter) -> Iterator[Size]:
    """The frame sizes in all sequence parameter sets of HEVC NAL units, each with its length in front."""
    offset = 0
    while offset + length_bytes < len(data):
        counter.increment()
        length = int.from_bytes(data[offset : offset + length_bytes], "big")
        offset += length_bytes
        if length and data[offset] >> 1 & 63 == HEVC_SEQUENCE_PARAMETERS:
            yield _read_hevc_size(data[offset : offset + min(length, HEADER_BYTES)].tobytes())
        offset += length


def _read_hevc_size(unit: bytes) -> Size:
    """Reads `seq_parameter_set_rbsp` up to `pic_height_in_luma_samples`."""
    # Removes the emulation prevention bytes: a 3 after two zeros.
    bits = BitReader(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.read_bits(4)
    sub_layers = bits.read_bits(3)
    bits.read_bits(1 + 88 + 8)
    present = [(bits.read_bits(1), bits.read_bits(1)) for _ in range(sub_layers)]
    bits.read_bits(2 * (8 - sub_layers) if sub_layers else 0)
    for profile, level in present:
        bits.read_bits(88 * profile + 8 * level)
    bits.read_exp_golomb()
    chroma = bits.read_exp_golomb()
    if chroma == CHROMA_444:
        bits.read_bits(1)
    # With 4:2:2 or 4:4:4 the decoder allocates as much as for twice the pixels.
    return bits.read_exp_golomb() * (2 if chroma > CHROMA_420 else 1), bits.read_exp_golomb()
