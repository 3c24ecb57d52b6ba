"""Sources of images: class folders, a built-in data set, or an archive that a source.yaml recipe names."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from pipeline.data import archives, ignored_files
from pipeline.data.folder_tree import join_names
from pipeline.data.misplaced_photos import PHOTO
from pipeline.data.recipe import RECIPE, ArchiveSource, BuiltinSource, read_recipe
from pipeline.data.sklearn_images import digit_images
from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import SourceChanged, SourceInvalid


@contextmanager
def open_source(raw: Path, environment: Environment) -> Iterator[Path]:
    """Yields a folder `<class>/<image>`: `raw` itself or, with a recipe, a temporary folder."""
    recipe = raw / RECIPE
    if not recipe.exists():
        yield raw
        return
    source = read_recipe(recipe)
    if unused := _unused_photos(raw):
        raise SourceInvalid(
            recipe,
            f"{join_names(unused)} beside it would be ignored, for all images come from the recipe. Remove "
            f"the recipe to use the photos of {raw}, or move what is beside it to a folder of its own",
        )
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name)
        if isinstance(source, BuiltinSource):
            write_digits(folder)
        else:
            unpack_archive(source, folder, environment.keras_home)
        yield folder


def _unused_photos(raw: Path) -> list[str]:
    """Folders and photos beside a recipe, which would be ignored."""
    return [
        path.name
        for path in sorted(raw.iterdir())
        if (path.is_dir() and ignored_files.folder_ignore_reason(path.name) is None)
        or (PHOTO.search(path.name) and ignored_files.ignore_reason((path.name,), path) is None)
    ]


def write_digits(folder: Path) -> None:
    """Writes scikit-learn's handwritten digits as `<digit>/<number>.png`, grey, 64 x 64 pixels.

    They are stored without compression: compressed bytes would depend on the zlib that Pillow uses.
    """
    for number, (label, image) in enumerate(digit_images()):
        path = folder / label / f"{number:04d}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path, compress_level=0)


def unpack_archive(source: ArchiveSource, folder: Path, keras_home: Path) -> None:
    """Downloads an archive, unpacks its photos into class folders and verifies their combined SHA-256."""
    path = cached_download(source.url, keras_home, "datasets", "the photos", archives.MAX_TOTAL_BYTES)
    total = hashlib.sha256()
    with archives.open_archive(path) as archive:
        photos = archives.select_photos(archive, path, re.compile(source.classes), folder)
        for photo in tqdm(photos, desc="unpack", unit="file", disable=None):
            data = archives.read_photo(archive, photo)
            total.update(f"{hashlib.sha256(data).hexdigest()} {photo.name}\n".encode())
            (folder / photo.label).mkdir(exist_ok=True)
            # "x": on a case-insensitive file system two names may denote the same file.
            with (folder / photo.label / photo.name).open("xb") as file:
                file.write(data)
    if total.hexdigest() != source.sha256:
        raise SourceChanged(path, source.sha256, total.hexdigest())
