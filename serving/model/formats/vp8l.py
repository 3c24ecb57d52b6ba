"""Limits the number of Huffman tables that a lossless WebP makes its decoder build (RFC 9649, section 3).

Each tile of an image may have tables of its own, which take 6 kB. Files of real encoders have at most 2,600
tiles; a crafted file of 300 kB may have 65,536. The number of tiles comes after the images that transforms
are stored as, which have no length field: they are read symbol by symbol and discarded.
"""

from serving.errors import ImageDamaged

# Tiles with tables of their own, at most: 30 MB.
MAX_TILES = 5000
# Pixels of all transform images; more than encoders write for the largest image that is decoded.
MAX_TRANSFORM_PIXELS = 200_000
# A tile has at least 4 x 4 pixels, and its tables at least 20 bits. Smaller images or files need no check.
MIN_TILE_PIXELS, MIN_TABLE_BITS = 16, 20
PREDICTOR, COLOUR, SUBTRACT_GREEN, COLOUR_INDEXING = range(4)
# Sizes of the alphabets: colour values, lengths of backward references (after green's values), distances.
VALUES, LENGTHS, DISTANCES = 256, 24, 40
# The order in which the code lengths of the code length code are stored.
CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
MAX_CODE_LENGTH = 15
# Symbols of that code which repeat a length: extra bits for the count, and the offset added to it.
REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}

# A lookup table by the next bits: the symbol, and the length of its code.
HuffmanTable = list[tuple[int, int]]


def check(data: memoryview, width: int, height: int) -> None:
    """Raises `ImageDamaged` if a decoder would build too many tables. `data` begins with the transforms."""
    if width * height <= MAX_TILES * MIN_TILE_PIXELS or 8 * len(data) <= MAX_TILES * MIN_TABLE_BITS:
        return
    if _Reader(data).count_tiles(width, height) > MAX_TILES:
        raise ImageDamaged("it has more Huffman tables than an image needs")


class _Reader:
    """Reads the bit stream, the lowest bit of each byte first. `bit_offset` is the current position."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.bit_offset, self.remaining_pixels = data, 0, MAX_TRANSFORM_PIXELS

    def count_tiles(self, width: int, height: int) -> int:
        """The number of tiles with tables of their own; 1 if all tiles share theirs."""
        while self._read_bits(1):
            transform = self._read_bits(2)
            if transform in (PREDICTOR, COLOUR):
                bits = 2 + self._read_bits(3)
                self._skip_transform_image(_div_round_up(width, bits) * _div_round_up(height, bits))
            elif transform == COLOUR_INDEXING:
                colours = 1 + self._read_bits(8)
                self._skip_transform_image(colours)
                # Small palettes pack several indices into one pixel.
                width = _div_round_up(
                    width, 3 if colours <= 2 else 2 if colours <= 4 else 1 if colours <= 16 else 0
                )
        if self._read_bits(1):
            self._read_bits(4)
        if not self._read_bits(1):
            return 1
        bits = 2 + self._read_bits(3)
        return _div_round_up(width, bits) * _div_round_up(height, bits)

    def _read_bits(self, count: int) -> int:
        start, shift = divmod(self.bit_offset, 8)
        self.bit_offset += count
        if self.bit_offset > 8 * len(self.data):
            raise ImageDamaged("its transformations break off")
        window = int.from_bytes(self.data[start : start + 5], "little")
        return window >> shift & (1 << count) - 1

    def _read_symbol(self, table: HuffmanTable) -> int:
        start, shift = divmod(self.bit_offset, 8)
        window = int.from_bytes(self.data[start : start + 3], "little") >> shift
        symbol, count = table[window & len(table) - 1]
        self.bit_offset += count
        return symbol

    def _skip_transform_image(self, pixels: int) -> None:
        """Reads and discards the image that a transform is stored as."""
        self.remaining_pixels -= pixels
        if self.remaining_pixels < 0:
            raise ImageDamaged("its transformations are larger than an image needs")
        cache_size = 1 << self._read_bits(4) if self._read_bits(1) else 0
        sizes = (VALUES + LENGTHS + cache_size, VALUES, VALUES, VALUES, DISTANCES)
        green, red, blue, alpha, distance = [self._read_table(size) for size in sizes]
        while pixels > 0:
            if self.bit_offset > 8 * len(self.data):
                raise ImageDamaged("its transformations break off")
            symbol = self._read_symbol(green)
            if symbol < VALUES:
                for table in (red, blue, alpha):
                    self._read_symbol(table)
                pixels -= 1
            elif symbol < VALUES + LENGTHS:
                pixels -= self._read_prefix_coded(symbol - VALUES)
                self._read_prefix_coded(self._read_symbol(distance))
            else:
                pixels -= 1

    def _read_prefix_coded(self, prefix: int) -> int:
        """A length or distance, whose prefix symbol gives the number of extra bits."""
        if prefix < 4:
            return prefix + 1
        extra = prefix - 2 >> 1
        return (2 + (prefix & 1) << extra) + self._read_bits(extra) + 1

    def _read_table(self, size: int) -> HuffmanTable:
        """Reads a Huffman code for an alphabet of `size` symbols."""
        if self._read_bits(1):
            has_second, is_8_bit = self._read_bits(1), self._read_bits(1)
            symbols = [self._read_bits(8 if is_8_bit else 1)]
            symbols += [self._read_bits(8) for _ in range(has_second)]
            return _build_table(dict.fromkeys(symbols, has_second))
        lengths = dict.fromkeys(range(len(CODE_LENGTH_ORDER)), 0)
        lengths |= {symbol: self._read_bits(3) for symbol in CODE_LENGTH_ORDER[: 4 + self._read_bits(4)]}
        return _build_table(self._read_code_lengths(_build_table(lengths), size))

    def _read_code_lengths(self, code: HuffmanTable, size: int) -> dict[int, int]:
        count = 2 + self._read_bits(2 + 2 * self._read_bits(3)) if self._read_bits(1) else size
        lengths: list[int] = []
        previous = 8
        for _ in range(count):
            if len(lengths) >= size:
                break
            if (symbol := self._read_symbol(code)) in REPEATS:
                bits, minimum = REPEATS[symbol]
                lengths += [previous if symbol == 16 else 0] * (minimum + self._read_bits(bits))
            else:
                lengths.append(symbol)
                previous = symbol or previous
        if len(lengths) > size:
            raise ImageDamaged("a Huffman code has too many symbols")
        return dict(enumerate(lengths))


def _div_round_up(side: int, bits: int) -> int:
    """The number of tiles of 2^bits pixels along a side."""
    return side + (1 << bits) - 1 >> bits


def _build_table(lengths: dict[int, int]) -> HuffmanTable:
    """The table of the canonical code with these code lengths; 0: unused symbol (RFC 9649, 3.7.2)."""
    used = sorted((length, symbol) for symbol, length in lengths.items() if length)
    if len(used) < 2:
        # A code with one symbol uses no bits.
        return [((used or [(0, next(iter(lengths)))])[0][1], 0)]
    longest = used[-1][0]
    table: HuffmanTable = [(0, 0)] * (1 << longest)
    code, previous = 0, used[0][0]
    for length, symbol in used:
        code <<= length - previous
        previous = length
        if code >> length:
            break
        start = int(f"{code:0{length}b}"[::-1], 2)
        table[start :: 1 << length] = [(symbol, length)] * (1 << longest - length)
        code += 1
    if code != 1 << longest or longest > MAX_CODE_LENGTH:
        raise ImageDamaged("a Huffman code is not complete")
    return table
