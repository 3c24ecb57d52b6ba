"""How many Huffman tables a lossless WebP makes its decoder build (RFC 9649, section 3).

Each tile of a picture may have tables of its own, 6 kB of them. What programs write has 2,600 tiles at most;
a file of 300 kB may have 65,536. Their number stands behind small pictures that describe transformations,
which have no length: they must be read symbol by symbol. Nothing of them is kept.
"""

from serving.errors import ImageDamaged

# Tiles that may have tables of their own: 30 MB.
MAX_TILES = 5000
# Pixels of the small pictures; more than programs write for the largest picture that is decoded.
MAX_PIXELS = 200_000
# A tile has 4 x 4 pixels or more, and its tables at least 20 bits: less than that cannot have too many.
TILE_PIXELS, TABLE_BITS = 16, 20
PREDICTOR, COLOUR, SUBTRACT_GREEN, INDEXING = range(4)
# Symbols for green, red, blue, alpha and distance. Green has lengths of copies too, behind its values.
VALUES, LENGTHS, DISTANCES = 256, 24, 40
# The order in which the lengths of the code for lengths are written.
ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
LONGEST = 15
# Symbols of that code which repeat: bits for the number, and what is added to it.
REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}

# By the next bits: the symbol, and how many of them it takes.
Table = list[tuple[int, int]]


def check(data: memoryview, width: int, height: int) -> None:
    """Refuses a picture whose decoder would build too many tables; `data` begins with its transformations."""
    if width * height <= MAX_TILES * TILE_PIXELS or 8 * len(data) <= MAX_TILES * TABLE_BITS:
        return
    if _Stream(data).tiles(width, height) > MAX_TILES:
        raise ImageDamaged("it has more Huffman tables than a picture needs")


class _Stream:
    """Takes bits from the front, the lowest one first."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at, self.left = data, 0, MAX_PIXELS

    def tiles(self, width: int, height: int) -> int:
        """Reads up to the size of the tiles that have tables of their own; 1 if there are none."""
        while self._take(1):
            kind = self._take(2)
            if kind in (PREDICTOR, COLOUR):
                bits = 2 + self._take(3)
                self._skip_picture(_parts(width, bits) * _parts(height, bits))
            elif kind == INDEXING:
                colours = 1 + self._take(8)
                self._skip_picture(colours)
                # Several indices share a pixel if they are small.
                width = _parts(width, 3 if colours <= 2 else 2 if colours <= 4 else 1 if colours <= 16 else 0)
        if self._take(1):
            self._take(4)
        if not self._take(1):
            return 1
        bits = 2 + self._take(3)
        return _parts(width, bits) * _parts(height, bits)

    def _take(self, count: int) -> int:
        start, shift = divmod(self.at, 8)
        self.at += count
        if self.at > 8 * len(self.data):
            raise ImageDamaged("its transformations break off")
        window = int.from_bytes(self.data[start : start + 5], "little")
        return window >> shift & (1 << count) - 1

    def _symbol(self, table: Table) -> int:
        start, shift = divmod(self.at, 8)
        window = int.from_bytes(self.data[start : start + 3], "little") >> shift
        symbol, count = table[window & len(table) - 1]
        self.at += count
        return symbol

    def _skip_picture(self, pixels: int) -> None:
        """Reads a picture that describes a transformation."""
        self.left -= pixels
        if self.left < 0:
            raise ImageDamaged("its transformations are larger than a picture needs")
        cached = 1 << self._take(4) if self._take(1) else 0
        sizes = (VALUES + LENGTHS + cached, VALUES, VALUES, VALUES, DISTANCES)
        green, red, blue, alpha, distance = [self._table(size) for size in sizes]
        while pixels > 0:
            if self.at > 8 * len(self.data):
                raise ImageDamaged("its transformations break off")
            symbol = self._symbol(green)
            if symbol < VALUES:
                for table in (red, blue, alpha):
                    self._symbol(table)
                pixels -= 1
            elif symbol < VALUES + LENGTHS:
                pixels -= self._number(symbol - VALUES)
                self._number(self._symbol(distance))
            else:
                pixels -= 1

    def _number(self, prefix: int) -> int:
        """A length or a distance, of which the prefix tells how many bits follow."""
        if prefix < 4:
            return prefix + 1
        extra = prefix - 2 >> 1
        return (2 + (prefix & 1) << extra) + self._take(extra) + 1

    def _table(self, size: int) -> Table:
        """Reads a Huffman code of so many symbols."""
        if self._take(1):
            several, wide = self._take(1), self._take(1)
            symbols = [self._take(8 if wide else 1)] + [self._take(8) for _ in range(several)]
            return _table(dict.fromkeys(symbols, several))
        lengths = dict.fromkeys(range(len(ORDER)), 0)
        lengths |= {symbol: self._take(3) for symbol in ORDER[: 4 + self._take(4)]}
        return _table(self._lengths(_table(lengths), size))

    def _lengths(self, code: Table, size: int) -> dict[int, int]:
        most = 2 + self._take(2 + 2 * self._take(3)) if self._take(1) else size
        lengths: list[int] = []
        last = 8
        for _ in range(most):
            if len(lengths) >= size:
                break
            if (symbol := self._symbol(code)) in REPEATS:
                bits, least = REPEATS[symbol]
                lengths += [last if symbol == 16 else 0] * (least + self._take(bits))
            else:
                lengths.append(symbol)
                last = symbol or last
        if len(lengths) > size:
            raise ImageDamaged("a Huffman code has too many symbols")
        return dict(enumerate(lengths))


def _parts(side: int, bits: int) -> int:
    """How many parts of 2^bits pixels a side has."""
    return side + (1 << bits) - 1 >> bits


def _table(lengths: dict[int, int]) -> Table:
    """The canonical code of symbols with these lengths, 0 for one that does not occur (RFC 9649, 3.7.2)."""
    used = sorted((length, symbol) for symbol, length in lengths.items() if length)
    if len(used) < 2:
        # One symbol takes no bits at all.
        return [((used or [(0, next(iter(lengths)))])[0][1], 0)]
    longest = used[-1][0]
    table: Table = [(0, 0)] * (1 << longest)
    code, before = 0, used[0][0]
    for length, symbol in used:
        code <<= length - before
        before = length
        if code >> length:
            break
        start = int(f"{code:0{length}b}"[::-1], 2)
        table[start :: 1 << length] = [(symbol, length)] * (1 << longest - length)
        code += 1
    if code != 1 << longest or longest > LONGEST:
        raise ImageDamaged("a Huffman code is not complete")
    return table
