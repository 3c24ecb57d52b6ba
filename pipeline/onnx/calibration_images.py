"""The images that an 8-bit graph is calibrated with: validation images, then training images, never others.

What is tested must not have been seen, also not by the quantiser.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.errors import CalibrationImagesMissing
from pipeline.files import sha256_of
from serving.model.decoder import Pixels, Preprocessing, decode

# In the order in which they are taken: what the network was not fitted to tells more.
SPLITS = ("valid", "train")


def load(prepared: Path, wanted: int, preprocessing: Preprocessing) -> Pixels:
    """Decodes `wanted` images of `prepared/<split>/<class>/`, or as many as there are: uint8 [N,S,S,3]."""
    chosen: list[Path] = []
    for split in SPLITS:
        files = (path for path in (prepared / split).rglob("*") if path.is_file())
        chosen += spread(files)[: wanted - len(chosen)]
        if len(chosen) == wanted:
            break
    if not chosen:
        raise CalibrationImagesMissing(prepared)
    return np.stack([decode(path.read_bytes(), preprocessing) for path in chosen])


def spread(images: Iterable[Path]) -> list[Path]:
    """Orders images of class folders by their content: first one of each class, then a second one, ..."""
    classes: dict[Path, list[tuple[str, Path]]] = defaultdict(list)
    for path in images:
        classes[path.parent].append((sha256_of(path), path))
    ranked = [
        (rank, digest, path)
        for members in classes.values()
        for rank, (digest, path) in enumerate(sorted(members))
    ]
    return [path for _, _, path in sorted(ranked)]
