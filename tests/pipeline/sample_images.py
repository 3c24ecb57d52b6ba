"""Small labelled images for tests; each class has its own colour and stripes."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 40, 40)}


def draw_image(path: Path, colour: str, seed: int, side: int = 40) -> Path:
    """Saves a noisy image of a colour, in the format of the file name."""
    noise = np.random.default_rng(seed).normal(0, 20, (side, side, 3))
    down, across = np.indices((side, side)) * 10 // side % 2
    stripes = {"blue": down, "green": across, "red": down ^ across}[colour]
    pixels = (
        (np.array(COLOURS[colour]) * (1 - 0.7 * stripes[:, :, None]) + noise).clip(0, 255).astype(np.uint8)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_class_folders(folder: Path, images: int, side: int = 40) -> Path:
    """Writes `<colour>/` folders with images of three formats."""
    for number, colour in enumerate(COLOURS):
        for index in range(images):
            suffix = ("jpg", "png", "webp")[index % 3]
            draw_image(folder / colour / f"{index:03d}.{suffix}", colour, 1000 * number + index, side)
    return folder
