"""Folders of labelled images: finding them, and everything that makes one unfit."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipeline import junk
from serving.decoder import Pixels, Preprocessing, decode
from serving.errors import ImageError

# Two files whose central squares agree in 64 x 64 pixels, to the bit, are one picture.
FINGERPRINT = Preprocessing(size=64, crop=1.0)
# Grey levels, of 255, by which the thumbnails of one picture may differ on average when it is saved anew.
LOOK_TOLERANCE = 4


@dataclass(frozen=True)
class Look:
    """What of a picture survives scaling and re-encoding.

    `hash` has 64 bits: is a cell of 8 x 8 darker than its right neighbour? Source: Neal Krawetz, "Kind of
    Like That", 2013. Many pictures of one kind share it, so `thumbnail`, 16 x 16 grey, decides.
    """

    hash: int
    thumbnail: bytes

    @classmethod
    def of(cls, pixels: Pixels) -> Self:
        """Takes the look of uint8 [S,S,3]."""
        grey = Image.fromarray(pixels).convert("L")
        cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
        bits = np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes()
        return cls(int.from_bytes(bits), grey.resize((16, 16), Image.Resampling.BOX).tobytes())

    def like(self, other: Self) -> bool:
        """Do the two look the same?"""
        difference = np.frombuffer(self.thumbnail, np.uint8) - np.frombuffer(
            other.thumbnail, np.uint8
        ).astype(int)
        return self.hash == other.hash and float(np.abs(difference).mean()) <= LOOK_TOLERANCE


@dataclass(frozen=True)
class Labelled:
    """An image that can be used. `name` is its path below the folder, `<class>/<file>`."""

    path: Path
    name: str
    label: str
    sha256: str
    pixels: str
    look: Look


@dataclass(frozen=True)
class Refused:
    """An image that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """The files below class folders as (class, path), sorted; and how many of each kind of junk there are."""

    files: list[tuple[str, Path]]
    passed_over: Counter[str]


def listing(folder: Path) -> Found:
    """Looks through class folders; what is hidden, and what no person has put there, is no data."""
    found = Found([], Counter())
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_dir():
            continue
        if (kind := junk.kind(parts, path)) is not None:
            found.passed_over[kind] += 1
        elif len(parts) > 1:
            found.files.append((parts[0], path))
    return found


def class_names(folder: Path) -> list[str]:
    """The class folders, also those without a file, and links, which are not followed."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and junk.of_folder(path.name) is None
    )


def inspect(folder: Path, files: Sequence[tuple[str, Path]]) -> Iterator[Labelled | Refused]:
    """Decodes every file as the server would, on all cores, in the order of `files`."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda entry: _inspect(folder, *entry), files)
        yield from tqdm(results, total=len(files), desc="check images", unit="image", disable=None)


def _inspect(folder: Path, label: str, path: Path) -> Labelled | Refused:
    name = path.relative_to(folder).as_posix()
    if not name.isprintable():
        return Refused(repr(name), "its name has characters that cannot be written down")
    try:
        data = path.read_bytes()
        pixels = decode(data, FINGERPRINT)
    except (ImageError, OSError) as error:
        return Refused(name, str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    return Labelled(path, name, label, sha256, hashlib.sha256(pixels.tobytes()).hexdigest(), Look.of(pixels))


def duplicates(images: Iterable[Labelled]) -> tuple[dict[str, str], list[Refused]]:
    """Finds images that show the same picture twice.

    Within a class the first one counts: the others are given as {name: name of the first}. Across
    classes at least one label is wrong, and nobody but the user knows which: these are refused.
    """
    same: dict[str, list[Labelled]] = defaultdict(list)
    for image in images:
        same[image.pixels].append(image)
    repeated: dict[str, str] = {}
    refused: list[Refused] = []
    for group in same.values():
        if len({image.label for image in group}) > 1:
            names = ", ".join(image.name for image in group)
            refused += [
                Refused(image.name, f"the same picture has several labels: {names}") for image in group
            ]
        else:
            repeated |= {image.name: group[0].name for image in group[1:]}
    return repeated, refused
