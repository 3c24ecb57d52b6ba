"""Images that the two built-in models should not know, made in memory; the same ones every time.

For `digits` they are drawn as its digits were scanned: a bitmap of 32 x 32, of which blocks are counted.
"""

import io
import math
from collections.abc import Callable, Iterator
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.sklearn_images import BITMAP_SIDE, count_blocks, digit_images, enlarge, sample_photos

SEED = 1
# Without those that are hardly told from a digit: B D G I O Q S Z, and b g i l o q s z.
LETTERS = "ACEFHJKLMNPRTUVWXYacdefhjkmnprtuvwxy"
WRITINGS = 3
# Images of each other group.
COUNT = 96
# Drawings are made larger and then reduced. Thin and thick pens, as shares of the side, as in digits.
CANVAS, MARGIN, PENS = 256, 32, (0.1, 0.2)
# Sides of the squares that are cut from photos; sides of textures.
TILES, TEXTURE_SIDE = (48, 400), 224

Group = Callable[[np.random.Generator], Iterator[Image.Image]]
Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]


def builtin_groups(data_set: str) -> dict[str, list[bytes]]:
    """Encoded images by group, for the data set `digits` or `imagenet`."""
    groups: dict[str, dict[str, Group]] = {
        "digits": {"letters": letters, "shapes": shapes, "photos": photos},
        "imagenet": {"textures": textures, "noise": noise, "digits": digits},
    }
    return {
        name: [_encode(image) for image in images(np.random.default_rng(SEED))]
        for name, images in groups[data_set].items()
    }


def letters(random: np.random.Generator) -> Iterator[Image.Image]:
    """Each letter, in three thicknesses, slants and turns."""
    for letter in LETTERS:
        for _ in range(WRITINGS):
            canvas = Image.new("L", (CANVAS, CANVAS))
            pen = int(random.integers(0, CANVAS // 20))
            font = ImageFont.load_default(CANVAS // 2)
            ImageDraw.Draw(canvas).text(
                (CANVAS // 2, CANVAS // 2), letter, 255, font, anchor="mm", stroke_width=pen
            )
            yield _scan(_slant(canvas, random))


def shapes(random: np.random.Generator) -> Iterator[Image.Image]:
    """Triangles, stars, crosses, arrows, grids and targets. No single ring, which is a zero."""
    for draw in islice(cycle((_triangle, _star, _cross, _arrow, _grid, _target)), COUNT):
        canvas = Image.new("L", (CANVAS, CANVAS))
        draw(ImageDraw.Draw(canvas), random, int(CANVAS * random.uniform(*PENS)))
        yield _scan(canvas)


def photos(random: np.random.Generator) -> Iterator[Image.Image]:
    """Squares of all sizes from two photos; every second one is grey, as digits are."""
    for number, photo in enumerate(islice(cycle(sample_photos()), COUNT)):
        side = int(math.exp(random.uniform(math.log(TILES[0]), math.log(TILES[1]))))
        left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
        tile = photo.crop((left, top, left + side, top + side))
        yield tile.convert("L") if number // 2 % 2 else tile


def textures(random: np.random.Generator) -> Iterator[Image.Image]:
    """Stripes, checks, dots and waves of two colours, at any angle."""
    rows, columns = np.mgrid[:TEXTURE_SIDE, :TEXTURE_SIDE].astype(np.float64)
    for number in range(COUNT):
        angle, period = random.uniform(0, math.pi), random.uniform(6, 60)
        along = 2 * math.pi / period * (columns * math.cos(angle) + rows * math.sin(angle))
        across = 2 * math.pi / period * (rows * math.cos(angle) - columns * math.sin(angle))
        share = (
            np.sin(along) > 0,
            np.sin(along) * np.sin(across) > 0,
            np.sin(along) + np.sin(across) > 1,
            (1 + np.sin(along + 2 * np.sin(across / 3))) / 2,
        )[number % 4]
        low, high = random.integers(0, 256, (2, 3))
        yield Image.fromarray((low + (high - low) * share[..., np.newaxis]).round().astype(np.uint8))


def noise(random: np.random.Generator) -> Iterator[Image.Image]:
    """Independent pixels, grey ones, spots of several pixels, and a colour with noise."""
    for number in range(COUNT):
        side = int(random.integers(8, 64)) if number % 4 == 2 else TEXTURE_SIDE
        pixels: npt.NDArray[Any] = random.integers(0, 256, (side, side, 3))
        if number % 4 == 1:
            pixels[...] = pixels[..., :1]
        if number % 4 == 3:
            pixels = random.integers(0, 256, 3) + random.normal(0, random.uniform(5, 60), pixels.shape)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        yield image.resize((TEXTURE_SIDE, TEXTURE_SIDE), Image.Resampling.BICUBIC)


def digits(random: np.random.Generator) -> Iterator[Image.Image]:
    """Handwritten digits."""
    images = [image for _, image in digit_images()]
    for number in random.choice(len(images), COUNT, replace=False):
        yield images[number]


def _triangle(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    corners = _around(3, random.uniform(0, 2 * math.pi), CANVAS / 2 - MARGIN)
    _polygon(draw, corners, pen, filled=bool(random.random() < 0.5))


def _star(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    points, turn, radius = int(random.integers(4, 8)), random.uniform(0, math.pi), CANVAS / 2 - MARGIN
    outer = _around(points, turn, radius)
    inner = _around(points, turn + math.pi / points, radius * random.uniform(0.3, 0.5))
    _polygon(draw, list(chain(*zip(outer, inner, strict=True))), pen, filled=bool(random.random() < 0.5))


def _cross(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    ends = _around(4, random.choice([0, math.pi / 4]), CANVAS / 2 - MARGIN)
    for start, end in (ends[::2], ends[1::2]):
        draw.line([start, end], 255, pen)


def _arrow(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    turn, radius = random.uniform(0, 2 * math.pi), CANVAS / 2 - MARGIN
    (tip,), (tail,) = _around(1, turn, radius), _around(1, turn + math.pi, radius)
    draw.line([tip, tail], 255, pen)
    for side in (-1, 1):
        (barb,) = _around(1, turn + math.pi + side * 0.7, radius, tip)
        draw.line([tip, barb], 255, pen)


def _grid(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    lines = int(random.integers(3, 5))  # two lines each way are a frame, which is like a zero
    for place in np.linspace(MARGIN, CANVAS - MARGIN, lines):
        draw.line([(place, MARGIN), (place, CANVAS - MARGIN)], 255, pen // 2)
        draw.line([(MARGIN, place), (CANVAS - MARGIN, place)], 255, pen // 2)


def _target(draw: ImageDraw.ImageDraw, random: np.random.Generator, pen: int) -> None:
    centre, radius = (CANVAS / 2, CANVAS / 2), CANVAS / 2 - MARGIN
    # A thick ring would leave no gap, and then be like a zero.
    draw.circle(centre, radius, None, 255, pen // 2)
    draw.circle(centre, radius * random.uniform(0.2, 0.4), 255)


def _around(
    count: int, turn: float, radius: float, centre: tuple[float, float] = (CANVAS / 2, CANVAS / 2)
) -> list[tuple[float, float]]:
    """Points at equal angles on a circle, from an angle on."""
    angles = [turn + 2 * math.pi * number / count for number in range(count)]
    return [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]


def _polygon(
    draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]], pen: int, *, filled: bool
) -> None:
    if filled:
        draw.polygon(corners, 255)
    else:
        draw.line([*corners, *corners[:2]], 255, pen, joint="curve")


def _slant(canvas: Image.Image, random: np.random.Generator) -> Image.Image:
    """Shears and turns a drawing a little, as handwriting is."""
    shear, middle = random.uniform(-0.3, 0.3), CANVAS / 2
    sheared = canvas.transform(
        canvas.size, Image.Transform.AFFINE, (1, shear, -shear * middle, 0, 1, 0), Image.Resampling.BILINEAR
    )
    return sheared.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR)


def _scan(canvas: Image.Image) -> Image.Image:
    """Cuts a drawing out, fits it into a bitmap of 32 x 32 and counts its blocks."""
    drawing = canvas.crop(canvas.getbbox())
    scale = BITMAP_SIDE / max(drawing.size)
    size = tuple(max(1, round(length * scale)) for length in drawing.size)
    bitmap = Image.new("L", (BITMAP_SIDE, BITMAP_SIDE))
    bitmap.paste(
        drawing.resize((size[0], size[1])), ((BITMAP_SIDE - size[0]) // 2, (BITMAP_SIDE - size[1]) // 2)
    )
    pixels: npt.NDArray[np.bool_] = np.asarray(bitmap) > 127
    return enlarge(count_blocks(pixels))


def _encode(image: Image.Image) -> bytes:
    """PNG without compression: compressed bytes would depend on the zlib that Pillow uses."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
