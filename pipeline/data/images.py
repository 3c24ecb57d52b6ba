"""Labelled images: decoding them, and everything that makes one unfit."""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.data import conversion, misplaced_photos
from pipeline.data.labelled_photos import Photo
from pipeline.data.near_duplicates import Look
from serving.errors import ImageError, ImageFormatUnsupported, ImageTooLarge, ImageUnrecognised
from serving.model.decoder import FORMATS, MAX_BYTES, Preprocessing, decode

# Two files whose central squares agree in 64 x 64 pixels, to the bit, are one picture.
FINGERPRINT = Preprocessing(size=64, crop=1.0)
# What else lies among photos, by its name.
NO_PHOTOS = (
    (re.compile(r"\.(mov|mp4|m4v|avi|mkv|webm|3gp|mpe?g|wmv)$", re.IGNORECASE), "a video; move it elsewhere"),
    (misplaced_photos.ARCHIVE, "an archive, which is not unpacked; unpack it, or move it elsewhere"),
    (misplaced_photos.TABLE, "a table; classes are read from folders, so move it elsewhere"),
)
# They begin as a TIFF does, whose first page is a thumbnail.
RAW = {".dng", ".nef", ".arw", ".cr2", ".pef", ".srw", ".nrw", ".3fr", ".iiq"}
# Control characters, bytes that are no text, ends of lines and paragraphs: they would break lists and tables.
# All else is taken: macOS writes U+202F into names of screenshots, emoji are joined by U+200D.
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class Labelled:
    """An image that can be used. `name` is its path below the folder, `file` that below its class.

    `split` is the one that its folder gives, and `converted` the format that it must be converted from.
    """

    path: Path
    name: str
    label: str
    file: str
    split: str | None
    converted: str | None
    sha256: str
    pixels: str
    look: Look

    @property
    def target(self) -> str:
        """Its path below the folder of a split."""
        return f"{self.label}/{self.file}{'.png' if self.converted else ''}"

    def data(self) -> bytes:
        """The bytes that are used."""
        data = self.path.read_bytes()
        return conversion.to_png(data, self.converted) if self.converted else data


@dataclass(frozen=True)
class Refused:
    """An image that cannot be used, and why."""

    name: str
    reason: str


def inspect(
    folder: Path, photos: Sequence[Photo], convert: Collection[str] = ()
) -> Iterator[Labelled | Refused]:
    """Decodes every file as the server would, on all cores, in the order of `photos`."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(partial(_inspect, folder, convert), photos)
        yield from tqdm(results, total=len(photos), desc="check images", unit="image", disable=None)


def _inspect(folder: Path, convert: Collection[str], photo: Photo) -> Labelled | Refused:
    name = photo.path.relative_to(folder).as_posix()
    if any(unicodedata.category(character) in UNWRITABLE for character in name):
        return Refused(repr(name), "its name has characters that cannot be written down; rename it")
    try:
        data = _read(photo.path)
        found = conversion.format_of(data)
        if found == "TIFF" and photo.path.suffix.lower() in RAW:
            return Refused(name, "a camera's raw file is not read; export it as JPEG")
        converted = found if found in convert else None
        if converted is None and len(data) > MAX_BYTES:
            return Refused(name, str(ImageTooLarge(len(data), MAX_BYTES)))
        pixels = decode(conversion.to_png(data, converted) if converted else data, FINGERPRINT)
    except ImageFormatUnsupported as error:
        convertible = found in conversion.FORMATS and found not in FORMATS
        return Refused(name, conversion.advice(found) if found and convertible else str(error))
    except ImageUnrecognised as error:
        return Refused(name, next((said for suffix, said in NO_PHOTOS if suffix.search(name)), str(error)))
    except (ImageError, OSError) as error:
        return Refused(name, str(error))
    return Labelled(
        photo.path,
        name,
        photo.label,
        photo.file,
        photo.split,
        converted,
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        Look.of(pixels),
    )


def _read(path: Path) -> bytes:
    """The bytes of a file. A pipe would never end, and a film would fill the memory."""
    if path.exists() and not path.is_file():
        raise OSError(f"It is no file but a {'socket' if path.is_socket() else 'pipe or device'}.")
    if (size := path.stat().st_size) > conversion.MAX_BYTES:
        raise ImageTooLarge(size, MAX_BYTES)
    return path.read_bytes()


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
