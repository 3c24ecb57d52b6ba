"""The images on which two bundles are compared, with their labels where folders name them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.folder_tree import FolderTree
from pipeline.errors import ComparisonImpossible
from serving.artifact.bundle import Label

# Folders list one class after the other. In a fixed random order the first images are of all classes.
SEED = 1


@dataclass(frozen=True)
class Photo:
    """An image file, its path below the folder, and its label, `None` if no folder names one."""

    path: Path
    name: str
    label: str | None


@dataclass(frozen=True)
class PhotoFolder:
    """The images of a folder in the order of the comparison, and links that were not followed."""

    folder: Path
    photos: list[Photo]
    links: list[str]


def find_photos(folder: Path, labels: Sequence[Label]) -> PhotoFolder:
    """All files below a folder that may be images, in a random order that is always the same.

    A photo has the label whose id or name is that of a folder around it, the outermost one if there are
    several. Raises `ComparisonImpossible` for a folder that is missing, unreadable or without files.
    """
    try:
        tree = FolderTree.scan(folder)
    except OSError as error:
        raise ComparisonImpossible(folder, f"it cannot be read ({error.strerror or error})") from None
    names = {label.name: label.name for label in labels} | {label.id: label.name for label in labels}
    photos = [Photo(folder.joinpath(*parts), "/".join(parts), _label(parts, names)) for parts in _files(tree)]
    if not photos:
        raise ComparisonImpossible(folder, "it has no files, apart from hidden ones and those of systems")
    random.Random(SEED).shuffle(photos)  # noqa: S311  (an order, no secret)
    return PhotoFolder(folder, photos, tree.folder_links)


def _files(tree: FolderTree) -> Iterator[tuple[str, ...]]:
    """The path parts of every file, sorted."""
    yield from ((name,) for name in sorted(tree.root_files))
    for name in sorted(tree.files):
        yield from ((name, *parts) for parts in sorted(tree.files[name]))


def _label(parts: tuple[str, ...], names: dict[str, str]) -> str | None:
    return next((names[part] for part in parts[:-1] if part in names), None)
