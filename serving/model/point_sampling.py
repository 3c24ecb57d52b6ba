"""Resizes without antialiasing, as `tf.image.resize(..., antialias=False)` does on a CPU.

Every pixel of the result is a weighted sum of the few source pixels around its centre ("taps"), also when the
image is made much smaller. Weights are float32, as in TensorFlow; the result is rounded to uint8.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# TensorFlow's bicubic weights come from a table of this many steps between two pixels.
CUBIC_STEPS = 1024
# Keys's cubic convolution, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
CUBIC_A = np.float32(-0.5)
LANCZOS_RADIUS = 3
# Bytes of source rows, or of their weighted sums, that are held at a time.
BLOCK_BYTES = 4 * 2**20
# Decimals of a source coordinate that are not rounding errors.
DECIMALS = 6


class Taps(NamedTuple):
    """On one axis, for each of N target pixels: the indices of T source pixels and their weights [N,T]."""

    indices: Integers
    weights: Floats


def find_taps(kind: str, target: int, start: float, length: float, side: int, mirrored: bool = False) -> Taps:
    """The taps that resize `length` pixels from `start` of an axis with `side` pixels to `target` pixels.

    Where that part extends beyond the image, the pixels are black. Pixels of the image outside of it do not
    count. `mirrored`: the taps of the same axis read from its other end.
    """
    first = int(np.floor(round(start, DECIMALS)))
    count = int(np.ceil(round(start + length, DECIMALS))) - first
    scale = np.float32(length) / np.float32(target)
    centres = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale + np.float32(start - first)
    indices, weights = KERNELS[kind](centres, count)
    indices = indices + first
    weights[(indices < 0) | (indices >= side)] = 0
    indices = indices.clip(0, side - 1)
    return Taps(side - 1 - indices if mirrored else indices, weights)


def sample(image: Image.Image, columns: Taps, rows: Taps, transposed: bool) -> Pixels:
    """The weighted sums of an image of the mode RGB or L: uint8 [H,W,3] or [H,W].

    `columns` and `rows` are those of the result. `transposed`: they are the rows and columns of the image.
    The order of the sums does not depend on that, so an image that is stored turned gives the same bits.
    """
    used, positions = np.unique(columns.indices, return_inverse=True)
    columns = Taps(positions.reshape(columns.indices.shape), columns.weights)
    first, last = int(used[0]), int(used[-1])
    channels = len(image.getbands())
    row_bytes = channels * max(rows.indices.shape[1] * (last + 1 - first), 4 * len(used))
    block = max(1, BLOCK_BYTES // row_bytes)
    result = np.empty((len(rows.indices), len(columns.indices), channels), dtype=np.uint8)
    for begin in range(0, len(result), block):
        part = rows.indices[begin : begin + block]
        needed, positions = np.unique(part, return_inverse=True)
        taps = Taps(positions.reshape(part.shape), rows.weights[begin : begin + block])
        pixels = _read_rows(image, needed, first, last + 1, transposed).take(used - first, axis=1)
        # Rows first: they are contiguous in memory.
        sums = _weighted_sum(_weighted_sum(pixels, taps, axis=0), columns, axis=1)
        result[begin : begin + block] = np.rint(sums).clip(0, 255)
    return result if channels > 1 else result[..., 0]


def _weighted_sum(values: npt.NDArray[np.uint8 | np.float32], taps: Taps, axis: int) -> Floats:
    """The sums along one axis of [rows, columns, channels], tap by tap: no digit depends on shapes."""
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: Floats = values.take(taps.indices[:, 0], axis) * taps.weights[:, 0].reshape(shape)
    for tap in range(1, taps.indices.shape[1]):
        total += values.take(taps.indices[:, tap], axis) * taps.weights[:, tap].reshape(shape)
    return total


def _read_rows(image: Image.Image, rows: Integers, left: int, right: int, transposed: bool) -> Pixels:
    """The columns `left` to `right` of some rows, in ascending order: no copy of the whole image.

    `transposed`: rows of the transposed image, [N,right-left,C].
    """
    channels = len(image.getbands())
    pixels = np.empty((len(rows), right - left, channels), dtype=np.uint8)
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(np.arange(len(rows)), breaks):
        top, bottom = int(rows[run[0]]), int(rows[run[-1]]) + 1
        if transposed:
            strip = image.crop((top, left, bottom, right)).transpose(Image.Transpose.TRANSPOSE)
        else:
            strip = image.crop((left, top, right, bottom))
        pixels[run[0] : run[-1] + 1] = np.asarray(strip).reshape(len(run), -1, channels)
    return pixels


def _nearest(centres: Floats, count: int) -> Taps:
    indices = np.floor(centres).astype(np.int64).clip(0, count - 1)[:, None]
    return Taps(indices, np.ones(indices.shape, dtype=np.float32))


def _bilinear(centres: Floats, count: int) -> Taps:
    low = np.floor(centres - np.float32(0.5))
    high_share = centres - np.float32(0.5) - low
    indices = np.stack([low, low + 1], axis=1).astype(np.int64).clip(0, count - 1)
    return Taps(indices, np.stack([1 - high_share, high_share], axis=1))


def _bicubic(centres: Floats, count: int) -> Taps:
    low = np.floor(centres - np.float32(0.5))
    steps = np.rint((centres - np.float32(0.5) - low) * CUBIC_STEPS)
    offsets = np.arange(-1, 3, dtype=np.float32)
    distances = np.abs(offsets - (steps / CUBIC_STEPS)[:, None].astype(np.float32))
    near = ((CUBIC_A + 2) * distances - (CUBIC_A + 3)) * distances**2 + 1
    far = ((CUBIC_A * distances - 5 * CUBIC_A) * distances + 8 * CUBIC_A) * distances - 4 * CUBIC_A
    weights = np.where(distances <= 1, near, far)
    return _normalise((low[:, None] + offsets).astype(np.int64), weights, count)


def _lanczos(centres: Floats, count: int) -> Taps:
    first = np.ceil(centres - LANCZOS_RADIUS - np.float32(0.5))
    indices = first[:, None] + np.arange(2 * LANCZOS_RADIUS + 1, dtype=np.float32)
    distances = np.abs(indices + np.float32(0.5) - centres[:, None])
    angles = np.where(distances <= 1e-3, 1, np.float32(np.pi) * distances)
    weights = LANCZOS_RADIUS * np.sin(angles) * np.sin(angles / LANCZOS_RADIUS) / angles**2
    weights = np.where(distances <= 1e-3, 1, np.where(distances < LANCZOS_RADIUS, weights, 0))
    return _normalise(indices.astype(np.int64), weights.astype(np.float32), count)


def _normalise(indices: Integers, weights: npt.NDArray[np.floating], count: int) -> Taps:
    """Pixels beyond the ends do not count, and the weights of the others sum to 1."""
    weights = np.where((indices < 0) | (indices >= count), 0, weights).astype(np.float32)
    return Taps(indices.clip(0, count - 1), weights / weights.sum(axis=1, keepdims=True))


KERNELS = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}
