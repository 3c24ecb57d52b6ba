"""Where images come from: a folder of class folders, a built-in set, or an archive on the network."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import numpy as np
import yaml
from PIL import Image
from pydantic import AfterValidator, ValidationError
from tqdm import tqdm

from pipeline.data import archives, ignored_files
from pipeline.data.folder_tree import listed
from pipeline.data.misplaced_photos import PHOTO
from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import SourceChanged, SourceInvalid
from pipeline.params import Section

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
    if beside := _beside(raw):
        raise SourceInvalid(
            recipe,
            f"{listed(beside)} beside it would be ignored, for all images come from the recipe. Remove the "
            f"recipe to use the photos of {raw}, or move what is beside it to a folder of its own",
        )
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        if isinstance(source, Builtin):
            write_digits(folder)
        else:
            unpack(source, folder, environment.keras_home)
        yield folder


def _beside(raw: Path) -> list[str]:
    """Folders and photos that look as if they should be used too."""
    return [
        path.name
        for path in sorted(raw.iterdir())
        if (path.is_dir() and ignored_files.of_folder(path.name) is None)
        or (PHOTO.search(path.name) and ignored_files.kind((path.name,), path) is None)
    ]


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
    path = cached_download(source.url, keras_home, "datasets", "the photos", archives.TOTAL_BYTES)
    total = hashlib.sha256()
    with archives.opened(path) as archive:
        photos = archives.photos(archive, path, re.compile(source.classes), folder)
        for photo in tqdm(photos, desc="unpack", unit="file", disable=None):
            data = archives.unpacked(archive, photo)
            total.update(f"{hashlib.sha256(data).hexdigest()} {photo.name}\n".encode())
            (folder / photo.label).mkdir(exist_ok=True)
            # A name that differs in capitals only may be the same to a file system.
            with (folder / photo.label / photo.name).open("xb") as file:
                file.write(data)
    if total.hexdigest() != source.sha256:
        raise SourceChanged(path, source.sha256, total.hexdigest())
