"""Where images come from: a folder of class folders, a built-in set, or an archive on the network."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import yaml
from PIL import Image
from pydantic import AfterValidator, TypeAdapter, ValidationError
from tqdm import tqdm

from pipeline.downloads import cached
from pipeline.errors import SourceChanged, SourceInvalid
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
    try:
        source: Builtin | Archive = TypeAdapter(Builtin | Archive).validate_python(
            yaml.safe_load(recipe.read_text(encoding="utf-8"))
        )
    except (ValidationError, yaml.YAMLError, re.error, UnicodeDecodeError) as error:
        raise SourceInvalid(recipe, str(error)) from None
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        if isinstance(source, Builtin):
            write_digits(folder)
        else:
            unpack(source, folder, environment.keras_home)
        yield folder


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
                # A file that says it is larger than any image that would be accepted is not even unpacked.
                if found is None or member.file_size > MAX_BYTES:
                    continue
                data = opened.read(member)
                name = PurePosixPath(member.filename).name
                total.update(f"{hashlib.sha256(data).hexdigest()} {name}\n".encode())
                path = folder / PurePosixPath(found["class"]).name / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise SourceInvalid(archive, f"{error}; delete it to download it again") from None
    if total.hexdigest() != source.sha256:
        raise SourceChanged(archive, source.sha256, total.hexdigest())
