"""Where images come from: a folder of class folders, a built-in set, or an archive on the network."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import yaml
from PIL import Image
from pydantic import AfterValidator, ValidationError
from tqdm import tqdm

from pipeline.downloads import cached
from pipeline.errors import ArchiveInvalid, SourceChanged, SourceInvalid
from pipeline.params import Environment, Section
from serving.decoder import MAX_BYTES

RECIPE = "source.yaml"
# scikit-learn's digits have 8 x 8 pixels; at 64 x 64 people can see them too.
DIGITS_SIDE = 64


def _pattern(text: str) -> str:
    if "class" not in re.compile(text).groupindex:
        raise ValueError("needs a group (?P<class>...)")
    return text


class Builtin(Section):
    """Images that come with a library."""

    builtin: Literal["digits"]


class Archive(Section):
    """A zip file. `classes`, a regular expression, finds the images and in their names the class."""

    url: str
    classes: Annotated[str, AfterValidator(_pattern)]
    sha256: str


@contextmanager
def class_folders(raw: Path, environment: Environment) -> Iterator[Path]:
    """Yields a folder `<class>/<image>`: `raw` itself, or what its recipe describes, unpacked for a while."""
    recipe = raw / RECIPE
    if not recipe.exists():
        yield raw
        return
    source = _read(recipe)
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        if isinstance(source, Builtin):
            write_digits(folder)
        else:
            unpack(source, folder, environment.keras_home)
        yield folder


def _read(recipe: Path) -> Builtin | Archive:
    try:
        document = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        kind = Builtin if isinstance(document, dict) and "builtin" in document else Archive
        return kind.model_validate(document)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise SourceInvalid(recipe, "; ".join(faults)) from None
    except (yaml.YAMLError, re.error, UnicodeDecodeError) as error:
        raise SourceInvalid(recipe, str(error)) from None


def write_digits(folder: Path) -> None:
    """Writes scikit-learn's handwritten digits as `<digit>/<number>.png`, grey, 64 x 64 pixels.

    They are stored without compression, whose bytes would depend on the zlib that Pillow was built with.
    """
    # Imported here because only this source needs it, and it takes a second.
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(exist_ok=True)
        grey = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
        grey.resize((DIGITS_SIDE, DIGITS_SIDE), Image.Resampling.BICUBIC).save(path, compress_level=0)


def unpack(source: Archive, folder: Path, keras_home: Path) -> None:
    """Gets the archive and writes its images into class folders, after checking all of their bytes."""
    archive = cached(source.url, keras_home, "datasets", "the photos")
    pattern, total = re.compile(source.classes), hashlib.sha256()
    try:
        with zipfile.ZipFile(archive) as opened:
            members = sorted(opened.infolist(), key=lambda member: member.filename)
            for member in tqdm(members, desc="unpack", unit="file", disable=None):
                found = pattern.search(member.filename)
                if found is None or member.is_dir():
                    continue
                path = _place(folder, found["class"], member, archive)
                data = opened.read(member)
                total.update(f"{hashlib.sha256(data).hexdigest()} {path.name}\n".encode())
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveInvalid(archive, str(error)) from None
    if total.hexdigest() != source.sha256:
        raise SourceChanged(archive, source.sha256, total.hexdigest())


def _place(folder: Path, label: str | None, member: zipfile.ZipInfo, archive: Path) -> Path:
    """Where an image of an archive goes; refuses one that would leave the folder, or hide or flood it."""
    if not label or label in (".", "..") or "/" in label:
        raise ArchiveInvalid(archive, f"{member.filename} has {label!r} for its class")
    path = folder / label / PurePosixPath(member.filename).name
    if path.exists():
        raise ArchiveInvalid(archive, f"{member.filename} is the second {path.name} of class {label}")
    if member.file_size > MAX_BYTES:
        raise ArchiveInvalid(
            archive, f"{member.filename} has {member.file_size:,} bytes, {MAX_BYTES:,} are allowed"
        )
    return path
