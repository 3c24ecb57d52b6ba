"""Resizes decoded images to the model's input: with antialiasing by Pillow, without it as TensorFlow does.

All functions take the image as it is stored. `orientation` is EXIF's: the result is upright, and height and
width are those of the upright image.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from serving.model import point_sampling
from serving.model.point_sampling import Pixels
from serving.model.preprocessing import Preprocessing

# The transposition that turns stored pixels upright, by EXIF orientation. 1 and unknown values need none.
TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange width and height.
TURNED = (5, 6, 7, 8)
# Orientations whose upright columns, and rows, run against the stored ones.
MIRRORED_COLUMNS, MIRRORED_ROWS = (2, 3, 6, 7), (3, 4, 7, 8)

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# How many target pixels away a source pixel counts, the widest of Pillow's filters.
WIDEST_SUPPORT = 3


class Span(NamedTuple):
    """The part of one axis, in source pixels, that is resized. With "pad" it extends beyond the image."""

    start: float
    length: float


class Box(NamedTuple):
    """A part of an image, in pixels from its top left corner. With "pad" it extends beyond the image."""

    left: float
    top: float
    width: float
    height: float


def resize(image: Image.Image, orientation: int, preprocessing: Preprocessing) -> Pixels:
    """Resizes an image of the mode RGB or L: uint8 [H,W,3], or [H,W] for the mode L; upright."""
    if not preprocessing.averages:
        return _sample_points(image, orientation, preprocessing)
    target = _stored_target(orientation, preprocessing)
    columns, rows = _spans(image.size, target, preprocessing)
    resampling = FILTERS[preprocessing.filter]
    if rows.start < 0:
        # Pillow's own order, columns first, at the cost of one small intermediate result.
        small = image.resize((target[0], image.height), resampling)
        small = _resize_padded(small, target, rows, resampling)
    elif columns.start < 0:
        # Rows first, so that no bars are added to the whole image.
        small = image.resize((image.width, target[1]), resampling).transpose(Image.Transpose.TRANSPOSE)
        small = _resize_padded(small, (target[1], target[0]), columns, resampling)
        small = small.transpose(Image.Transpose.TRANSPOSE)
    else:
        box = (columns.start, rows.start, columns.start + columns.length, rows.start + rows.length)
        small = image.resize(target, resampling, box=box)
    # The part is central, so it may be turned after resizing, which is cheaper.
    if orientation in TRANSPOSE_BY_ORIENTATION:
        small = small.transpose(TRANSPOSE_BY_ORIENTATION[orientation])
    return np.asarray(small)


def source_box(size: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """The part of an upright image of this width and height that becomes the model's input."""
    columns, rows = _spans(size, (preprocessing.width, preprocessing.height), preprocessing)
    return Box(columns.start, rows.start, columns.length, rows.length)


def draft_size(size: tuple[int, int], orientation: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """The smallest width and height to which an image may be scaled before `resize`, without loss."""
    target = _stored_target(orientation, preprocessing)
    if preprocessing.resize == "squash":
        return target
    scales = [goal / side for goal, side in zip(target, size, strict=True)]
    if preprocessing.resize == "pad":
        scale = min(scales)
    else:
        box = _largest_box(size, target)
        kept = (round(goal / preprocessing.crop) for goal in target)
        scale = max(goal / side for goal, side in zip(kept, box, strict=True))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _stored_target(orientation: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height of the result before it is turned upright."""
    target = preprocessing.width, preprocessing.height
    return target[::-1] if orientation in TURNED else target


def _spans(size: tuple[int, int], target: tuple[int, int], preprocessing: Preprocessing) -> tuple[Span, Span]:
    """The columns and rows of an image that make its result."""
    if preprocessing.resize == "squash":
        return Span(0, size[0]), Span(0, size[1])
    if preprocessing.resize == "pad":
        bars = _bar(size, target), _bar(size[::-1], target[::-1])
        columns, rows = (Span(-bar, side + 2 * bar) for bar, side in zip(bars, size, strict=True))
        return columns, rows
    lengths = (preprocessing.crop * side for side in _largest_box(size, target))
    columns, rows = (Span((side - length) / 2, length) for side, length in zip(size, lengths, strict=True))
    return columns, rows


def _largest_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the largest box of the target's aspect ratio inside an image."""
    (width, height), (target_width, target_height) = size, target
    if width * target_height > height * target_width:
        return height * target_width / target_height, height
    return width, width * target_height / target_width


def _bar(size: tuple[int, int], target: tuple[int, int]) -> int:
    """The width of the bar at each side of an image, in its pixels, with Keras's rounding."""
    (side, other), (target_side, target_other) = size, target
    padded = int(np.float32(other * target_side) / np.float32(target_other))
    return max(0, padded - side) // 2


def _resize_padded(
    image: Image.Image, target: tuple[int, int], rows: Span, resampling: Image.Resampling
) -> Image.Image:
    """Resizes the rows of an image whose width is that of the target; `rows` begins above the image.

    Only the result's rows that the image reaches are computed, from as many black rows as they need: the bars
    of a panorama would have many times its pixels.
    """
    (width, height), bar = target, round(-rows.start)
    scale = rows.length / height
    reach = WIDEST_SUPPORT * max(scale, 1) + 1
    first = max(0, math.floor((bar - reach) / scale))
    last = min(height, math.ceil((bar + image.height + reach) / scale))
    begin, end = first * scale - bar, last * scale - bar
    # Not more than the bars, whose ends are the ends of the image for the filter.
    margin = min(bar, max(0, math.ceil(max(-begin, end - image.height) + reach)))
    padded = Image.new(image.mode, (width, image.height + 2 * margin))
    padded.paste(image, (0, margin))
    result = Image.new(image.mode, target)
    part = padded.resize((width, last - first), resampling, box=(0, begin + margin, width, end + margin))
    result.paste(part, (0, first))
    return result


def _sample_points(image: Image.Image, orientation: int, preprocessing: Preprocessing) -> Pixels:
    turned = orientation in TURNED
    size = image.size[::-1] if turned else image.size
    target = preprocessing.width, preprocessing.height
    mirrored = orientation in MIRRORED_COLUMNS, orientation in MIRRORED_ROWS
    columns, rows = (
        point_sampling.find_taps(preprocessing.filter, goal, span.start, span.length, side, is_mirrored)
        for goal, span, side, is_mirrored in zip(
            target, _spans(size, target, preprocessing), size, mirrored, strict=True
        )
    )
    return point_sampling.sample(image, columns, rows, transposed=turned)
