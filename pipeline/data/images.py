"""Decoding and checking labelled images, and finding exact duplicates."""

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
from pipeline.data.labelled_photos import LabelledPhoto
from pipeline.data.near_duplicates import PerceptualHash
from serving.errors import ImageError, ImageFormatUnsupported, ImageTooLarge, ImageUnrecognised
from serving.model.decoder import FORMATS, MAX_BYTES, Preprocessing, decode

# Two files are duplicates if their central squares, scaled to 64 x 64 pixels, are equal to the bit.
FINGERPRINT = Preprocessing(size=64, crop=1.0)
# Reasons for files that are recognisable by name.
NON_PHOTO_REASONS = (
    (re.compile(r"\.(mov|mp4|m4v|avi|mkv|webm|3gp|mpe?g|wmv)$", re.IGNORECASE), "a video; move it elsewhere"),
    (misplaced_photos.ARCHIVE, "an archive, which is not unpacked; unpack it, or move it elsewhere"),
    (misplaced_photos.TABLE, "a table; classes are read from folders, so move it elsewhere"),
)
# Camera raw files are TIFF files whose first page is a thumbnail.
CAMERA_RAW_SUFFIXES = {".dng", ".nef", ".arw", ".cr2", ".pef", ".srw", ".nrw", ".3fr", ".iiq"}
# Control characters, undecodable bytes, line and paragraph separators: they would break lists and tables. All
# others are accepted: macOS writes U+202F into the names of screenshots, and U+200D joins emoji.
FORBIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class LabelledImage:
    """An image that passed all checks. `name` is its path below the raw folder, `file` that below its class.

    `split` is set by its folder, if at all; `converted_from` is the format that it is converted from, if any.
    """

    path: Path
    name: str
    label: str
    file: str
    split: str | None
    converted_from: str | None
    sha256: str
    pixel_sha256: str
    perceptual_hash: PerceptualHash

    @property
    def target(self) -> str:
        """Its path below the folder of its split."""
        return f"{self.label}/{self.file}{'.png' if self.converted_from else ''}"

    def data(self) -> bytes:
        """The bytes to write: the original ones, or the converted PNG."""
        data = self.path.read_bytes()
        return conversion.to_png(data, self.converted_from) if self.converted_from else data


@dataclass(frozen=True)
class Rejection:
    """An image, class or folder that cannot be used, and why."""

    name: str
    reason: str


def check_images(
    folder: Path, photos: Sequence[LabelledPhoto], convert: Collection[str] = ()
) -> Iterator[LabelledImage | Rejection]:
    """Decodes every file with the server's decoder, in parallel; the order of `photos` is kept."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(partial(_check_image, folder, convert), photos)
        yield from tqdm(results, total=len(photos), desc="check images", unit="image", disable=None)


def _check_image(folder: Path, convert: Collection[str], photo: LabelledPhoto) -> LabelledImage | Rejection:
    name = photo.path.relative_to(folder).as_posix()
    if any(unicodedata.category(character) in FORBIDDEN_CATEGORIES for character in name):
        return Rejection(repr(name), "its name has characters that cannot be written down; rename it")
    try:
        data = _read(photo.path)
        image_format = conversion.detect_format(data)
        if image_format == "TIFF" and photo.path.suffix.lower() in CAMERA_RAW_SUFFIXES:
            return Rejection(name, "a camera's raw file is not read; export it as JPEG")
        converted_from = image_format if image_format in convert else None
        if converted_from is None and len(data) > MAX_BYTES:
            return Rejection(name, str(ImageTooLarge(len(data), MAX_BYTES)))
        pixels = decode(conversion.to_png(data, converted_from) if converted_from else data, FINGERPRINT)
    except ImageFormatUnsupported as error:
        convertible = image_format in conversion.CONVERTIBLE_FORMATS and image_format not in FORMATS
        advice = conversion.conversion_advice(image_format) if image_format and convertible else str(error)
        return Rejection(name, advice)
    except ImageUnrecognised as error:
        reasons = (reason for pattern, reason in NON_PHOTO_REASONS if pattern.search(name))
        return Rejection(name, next(reasons, str(error)))
    except (ImageError, OSError) as error:
        return Rejection(name, str(error))
    return LabelledImage(
        photo.path,
        name,
        photo.label,
        photo.file,
        photo.split,
        converted_from,
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        PerceptualHash.compute(pixels),
    )


def _read(path: Path) -> bytes:
    """Reads a file of limited size. Pipes and devices are rejected, because reading one might never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"It is no file but a {'socket' if path.is_socket() else 'pipe or device'}.")
    if (size := path.stat().st_size) > conversion.MAX_BYTES:
        raise ImageTooLarge(size, MAX_BYTES)
    return path.read_bytes()


def find_duplicates(images: Iterable[LabelledImage]) -> tuple[dict[str, str], list[Rejection]]:
    """Finds images with equal pixels.

    Within a class the first one is kept: the result maps the name of each other one to the name of the first.
    Across classes at least one label is wrong, and only the user can tell which: all of them are rejected.
    """
    groups: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        groups[image.pixel_sha256].append(image)
    duplicates: dict[str, str] = {}
    rejections: list[Rejection] = []
    for group in groups.values():
        if len({image.label for image in group}) > 1:
            names = ", ".join(image.name for image in group)
            rejections += [
                Rejection(image.name, f"the same picture has several labels: {names}") for image in group
            ]
        else:
            duplicates |= {image.name: group[0].name for image in group[1:]}
    return duplicates, rejections
