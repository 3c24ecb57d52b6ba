"""Draws an explanation over the image as the model saw it."""

import io

import numpy as np
from PIL import Image

from serving.explanation.class_activation_map import Map
from serving.model.decoder import Pixels

# The longer side of the picture has at least this many pixels; small inputs are enlarged.
MIN_SIDE = 448
# From little to much evidence: yellow to magenta, and how much of the image is covered. The opacity rises
# too, so that the order is seen in every kind of colour vision.
LITTLE, MUCH, OPACITY = np.array([255, 230, 0], np.float32), np.array([214, 0, 140], np.float32), 0.7


def draw_heatmap(pixels: Pixels, values: Map) -> bytes:
    """A PNG of the model's input, uint8 [H,W,C], with the values [h,w] that speak for the class over it."""
    height, width = pixels.shape[:2]
    factor = max(1, -(-MIN_SIDE // max(height, width)))
    size = width * factor, height * factor
    photo = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")
    photo = photo.resize(size, Image.Resampling.BICUBIC)
    heat = Image.fromarray(normalise(values)).resize(size, Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(heat), 0, 1)[..., np.newaxis]
    opacity = np.float32(OPACITY) * strength
    mixed = np.asarray(photo) * (1 - opacity) + (LITTLE + (MUCH - LITTLE) * strength) * opacity
    file = io.BytesIO()
    # A higher level takes several times as long, for a file that is hardly smaller.
    Image.fromarray(mixed.round().astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def normalise(values: Map) -> Map:
    """Values from 0 (the least, or against the class) to 1 (the most); all 0 if no place differs."""
    least, most = max(0.0, float(values.min())), float(values.max())
    if most <= least:
        return np.zeros_like(values)
    return np.asarray(np.maximum(values - least, 0) / (most - least), np.float32)
