"""Selects the images for calibrating an 8-bit graph: validation images, then training images.

Test images are never used, because the quantiser must not have seen them either.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.errors import CalibrationImagesMissing
from pipeline.files import sha256_of
from serving.model.decoder import Pixels, Preprocessing, decode

# In order of preference: images that the network was not trained on are more representative.
SPLITS = ("valid", "train")


def load_calibration_images(prepared: Path, wanted: int, preprocessing: Preprocessing) -> Pixels:
    """Decodes `wanted` images of `prepared/<split>/<class>/`, or as many as there are: uint8 [N,S,S,3]."""
    chosen: list[Path] = []
    for split in SPLITS:
        files = (path for path in (prepared / split).rglob("*") if path.is_file())
        chosen += interleave_classes(files)[: wanted - len(chosen)]
        if len(chosen) == wanted:
            break
    if not chosen:
        raise CalibrationImagesMissing(prepared)
    return np.stack([decode(path.read_bytes(), preprocessing) for path in chosen])


def interleave_classes(images: Iterable[Path]) -> list[Path]:
    """Orders images by class in turn: the first of each class, then the second, ...; within it by SHA-256."""
    classes: dict[Path, list[tuple[str, Path]]] = defaultdict(list)
    for path in images:
        classes[path.parent].append((sha256_of(path), path))
    ranked = [
        (rank, digest, path)
        for members in classes.values()
        for rank, (digest, path) in enumerate(sorted(members))
    ]
    return [path for _, _, path in sorted(ranked)]
