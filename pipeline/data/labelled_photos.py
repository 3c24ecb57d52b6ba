"""Determines the class, and the split if folders give one, of every file below a folder of photos.

Two layouts are supported: `<class>/<photo>`, and `<split>/<class>/<photo>` as in Kaggle's archives. Any other
layout raises `FolderLayoutUnclear`, which tells how to change it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import misplaced_photos
from pipeline.data.folder_tree import FolderTree, Parts, class_names, join_names, split_from_name
from pipeline.errors import FolderLayoutUnclear
from pipeline.params import Splitting


@dataclass(frozen=True)
class LabelledPhoto:
    """A file in a class folder, not yet checked to be an image. `file` is its path below the class folder."""

    path: Path
    label: str
    file: str
    split: str | None = None


@dataclass(frozen=True)
class FolderScan:
    """The content of a folder of photos; `splits` maps the folders that are used as splits to their split."""

    classes: list[str]
    photos: list[LabelledPhoto]
    splits: dict[str, str]
    ignored: Counter[str]
    notes: list[str]
    folder_links: list[str]


def scan_folder(folder: Path, splitting: Splitting = "content") -> FolderScan:
    """Finds the photos of a folder. With `content`, the photos of all split folders are merged."""
    tree = FolderTree.scan(folder)
    splits = _split_folders(tree, splitting)
    misplaced_photos.check_layout(tree, splits)
    labels = {label for top in splits or [""] for label in class_names(folder / top)}
    photos = [
        _label(tree, name, parts, splits, splitting)
        for name in sorted(tree.files)
        for parts in tree.files[name]
        if not splits or (name in splits and len(parts) > 1)
    ]
    used_splits = {} if splitting == "content" else splits
    notes = list(_notes(tree, splits))
    return FolderScan(sorted(labels), photos, used_splits, tree.ignored, notes, tree.folder_links)


def _split_folders(tree: FolderTree, splitting: Splitting) -> dict[str, str]:
    """Maps the split folders to their split; empty if the class folders are at the top level."""
    named = {name: split for name in tree.files if (split := split_from_name(name)) is not None}
    layered = {name: split for name, split in named.items() if tree.subfolders(name)}
    # A split folder holds class folders; a folder `train` that holds photos is a class of that name.
    certain = sorted(
        name for name in layered if not any(map(misplaced_photos.PHOTO.search, tree.direct_files(name)))
    )
    others = sorted(
        name for name in tree.files.keys() - named.keys() if not certain or _has_photos(tree, name)
    )
    if splitting == "folders" and not layered:
        raise FolderLayoutUnclear(
            tree.folder,
            "prepare.split is folders, and none is called train, valid or test and holds class folders",
            "Set it to content in params.yaml, or sort the photos into <split>/<class>/",
        )
    if splitting == "auto" and others and certain:
        raise FolderLayoutUnclear(
            tree.folder,
            f"it has {join_names(certain)}, which look like a split, and {join_names(others)} beside them",
            "In params.yaml set prepare.split to folders, which passes the others over, or to content, where "
            "all of these are classes",
        )
    if splitting == "auto" and not layered:
        misplaced_photos.check_photos_are_labelled(tree, named)
    return layered if not others or splitting == "folders" else {}


def _has_photos(tree: FolderTree, name: str) -> bool:
    return any(misplaced_photos.PHOTO.search(parts[-1]) for parts in tree.files[name])


def _label(
    tree: FolderTree, name: str, parts: Parts, splits: dict[str, str], splitting: Splitting
) -> LabelledPhoto:
    path = tree.folder.joinpath(name, *parts)
    if not splits:
        return LabelledPhoto(path, name, "/".join(parts))
    if splitting == "content":
        # The split stays in the path, because files of several splits may have the same name.
        return LabelledPhoto(path, parts[0], "/".join([name, *parts[1:]]))
    return LabelledPhoto(path, parts[0], "/".join(parts[1:]), splits[name])


def _notes(tree: FolderTree, splits: dict[str, str]) -> Iterator[str]:
    if files := tree.root_files:
        hint = "; archives are not unpacked" if any(map(misplaced_photos.ARCHIVE.search, files)) else ""
        yield f"passed over: {len(files):,} beside the class folders ({join_names(files)}){hint}"
    for name in sorted(tree.files) if splits else ():
        unused = len(tree.direct_files(name) if name in splits else tree.files[name])
        if unused:
            folder = join_names([name])
            yield f"passed over: {unused:,} files in {folder}/ that are in no class folder of a split"
    inner = sorted({folder for name in tree.files for folder in tree.subfolders(name)}) if not splits else []
    if inner and all(split_from_name(folder) is not None for folder in inner):
        yield (
            f"warning: {join_names(inner)} inside the class folders are not used as a split; if they are "
            "one, move them up, to <split>/<class>/"
        )
