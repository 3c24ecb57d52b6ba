"""Which files are photos of which class, and whether the folders are a split.

Two layouts are taken: `<class>/<photo>`, and `<split>/<class>/<photo>` as Kaggle's archives and many programs
have it. Whatever else there is becomes a `FolderLayoutUnclear`, which says what to do.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import misplaced_photos
from pipeline.data.folder_tree import Parts, Tree, class_names, listed, split_of
from pipeline.errors import FolderLayoutUnclear
from pipeline.params import Splitting


@dataclass(frozen=True)
class Photo:
    """A file that should be a photo of a class. `file` is its path below the class."""

    path: Path
    label: str
    file: str
    split: str | None = None


@dataclass(frozen=True)
class Found:
    """What a folder of photos holds; `splits` says which of its folders are used as which split."""

    classes: list[str]
    files: list[Photo]
    splits: dict[str, str]
    passed_over: Counter[str]
    notes: list[str]
    links: list[str]


def listing(folder: Path, splitting: Splitting = "content") -> Found:
    """Looks through a folder. With `content`, the photos of split folders are put together."""
    tree = Tree.of(folder)
    splits = _splits(tree, splitting)
    misplaced_photos.refuse(tree, splits)
    labels = {label for top in splits or [""] for label in class_names(folder / top)}
    files = [
        _photo(tree, name, parts, splits, splitting)
        for name in sorted(tree.below)
        for parts in tree.below[name]
        if not splits or (name in splits and len(parts) > 1)
    ]
    used = {} if splitting == "content" else splits
    return Found(sorted(labels), files, used, tree.junk, list(_notes(tree, splits)), tree.links)


def _splits(tree: Tree, splitting: Splitting) -> dict[str, str]:
    """The folders that are a split; none if there are classes at the top."""
    named = {name: split for name in tree.below if (split := split_of(name)) is not None}
    layered = {name: split for name, split in named.items() if tree.inner(name)}
    # A folder of a split holds class folders, a class called `train` holds photos.
    clear = sorted(name for name in layered if not any(map(misplaced_photos.PHOTO.search, tree.flat(name))))
    others = sorted(name for name in tree.below.keys() - named.keys() if not clear or _has_photos(tree, name))
    if splitting == "folders" and not layered:
        raise FolderLayoutUnclear(
            tree.folder,
            "prepare.split is folders, and none is called train, valid or test and holds class folders",
            "Set it to content in params.yaml, or sort the photos into <split>/<class>/",
        )
    if splitting == "auto" and others and clear:
        raise FolderLayoutUnclear(
            tree.folder,
            f"it has {listed(clear)}, which look like a split, and {listed(others)} beside them",
            "In params.yaml set prepare.split to folders, which passes the others over, or to content, where "
            "all of these are classes",
        )
    if splitting == "auto" and not layered:
        misplaced_photos.refuse_unlabelled(tree, named)
    return layered if not others or splitting == "folders" else {}


def _has_photos(tree: Tree, name: str) -> bool:
    return any(misplaced_photos.PHOTO.search(parts[-1]) for parts in tree.below[name])


def _photo(tree: Tree, name: str, parts: Parts, splits: dict[str, str], splitting: Splitting) -> Photo:
    path = tree.folder.joinpath(name, *parts)
    if not splits:
        return Photo(path, name, "/".join(parts))
    if splitting == "content":
        # Files of several folders may have one name.
        return Photo(path, parts[0], "/".join([name, *parts[1:]]))
    return Photo(path, parts[0], "/".join(parts[1:]), splits[name])


def _notes(tree: Tree, splits: dict[str, str]) -> Iterator[str]:
    if tree.beside:
        hint = "; archives are not unpacked" if any(map(misplaced_photos.ARCHIVE.search, tree.beside)) else ""
        yield f"passed over: {len(tree.beside):,} beside the class folders ({listed(tree.beside)}){hint}"
    for name in sorted(tree.below) if splits else ():
        unused = len(tree.flat(name) if name in splits else tree.below[name])
        if unused:
            yield f"passed over: {unused:,} files in {listed([name])}/ that are in no class folder of a split"
    inner = sorted({folder for name in tree.below for folder in tree.inner(name)}) if not splits else []
    if inner and all(split_of(folder) is not None for folder in inner):
        yield (
            f"warning: {listed(inner)} inside the class folders are not used as a split; if they are one, "
            "move them up, to <split>/<class>/"
        )
