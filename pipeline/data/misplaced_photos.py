"""Detects photos that are not in class folders; the error tells to unpack, sort or move them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from pipeline.data import ignored_files
from pipeline.data.folder_tree import FolderTree, Parts, join_names, split_from_name
from pipeline.errors import FolderLayoutUnclear

ARCHIVE = re.compile(r"\.(zip|tar|tgz|gz|7z|rar|bz2|xz|zst)$", re.IGNORECASE)
TABLE = re.compile(r"\.(csv|tsv|xlsx?|parquet)$", re.IGNORECASE)
PHOTO = re.compile(f"{ignored_files.PHOTO_SUFFIX}$", re.IGNORECASE)
# `cat.17.jpg`, `cat_017.jpg`, `cat (17).jpg`: the class is in the file name.
CLASS_IN_NAME = re.compile(r"(?P<label>[^\W\d_][^\d.]*?)[ ._(-]*\d+\)?\.\w+$")
# Folder names that describe a kind of file, not a class.
FILE_KIND_FOLDER = re.compile(
    r"(jpe?g|png)?[ _-]?(images?|imgs?|photos?|pictures|pics|annotations?|labels?|masks?|trimaps)",
    re.IGNORECASE,
)
# Prefixes that cameras and programs use in file names; they are not classes.
CAMERA_PREFIXES = {
    "img",
    "dsc",
    "dscn",
    "dscf",
    "pxl",
    "photo",
    "image",
    "picture",
    "screenshot",
    "scan",
    "frame",
    "file",
    "p",
}


def check_layout(tree: FolderTree, splits: Mapping[str, str]) -> None:
    """Raises `FolderLayoutUnclear` if the folders at the level of class folders are not classes."""
    if not tree.files:
        _reject_unsorted_photos(tree, tree.folder, tree.root_files)
    for split in splits.values():
        if len(synonyms := sorted(name for name in splits if splits[name] == split)) > 1:
            raise FolderLayoutUnclear(
                tree.folder,
                f"{join_names(synonyms)} all mean {split}",
                "Keep one of them, or put them together",
            )
    for name in splits:
        _reject_extra_level(tree, tree.folder / name, tree.subfolders(name))
    if not splits:
        _reject_extra_level(tree, tree.folder, tree.files)
        if len(tree.files) == 1:
            (name,) = tree.files
            _reject_labels_outside_folders(tree, tree.folder / name, tree.direct_files(name))


def check_photos_are_labelled(tree: FolderTree, named: Mapping[str, str]) -> None:
    """Raises `FolderLayoutUnclear` if all folders are named like splits or kinds of files and hold photos."""
    if not all(name in named or FILE_KIND_FOLDER.fullmatch(name) for name in tree.files):
        return
    # Training photos are reported first.
    for name in sorted(tree.files, key=lambda name: (named.get(name) != "train", name)):
        _reject_unsorted_photos(
            tree,
            tree.folder / name,
            tree.direct_files(name),
            "If these are classes, set prepare.split to content",
        )


def _reject_extra_level(tree: FolderTree, top: Path, folders: Mapping[str, Sequence[Parts]]) -> None:
    """Rejects a single folder that contains only folders, as unpacking an archive often leaves."""
    if len(folders) != 1:
        return
    ((name, files),) = folders.items()
    inner = sorted({parts[0] for parts in files})
    if len(inner) > 1 and all(len(parts) > 1 for parts in files):
        here, there = quote(str(top / name)), quote(str(top))
        raise FolderLayoutUnclear(
            tree.folder,
            f"{top / name} is the only folder in {top}, and holds {join_names(inner)}: one level too many",
            f"Move these up: `mv {here}/* {there}/ && rmdir {here}`",
        )


def _reject_unsorted_photos(
    tree: FolderTree, folder: Path, names: Sequence[str], alternative: str = ""
) -> None:
    """Rejects photos, or archives of them, outside class folders."""
    _reject_labels_outside_folders(tree, folder, names)
    wanted = f"{folder}/<class>/<photo>"
    tail = f". {alternative}" if alternative else ""
    if archives := [name for name in names if ARCHIVE.search(name)]:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{join_names(archives)} is not unpacked",
            f"Unpack it there, so that each class has a folder, {wanted}{tail}",
        )
    if photos := [name for name in names if PHOTO.search(name)]:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself ({join_names(photos)}), in no class folder",
            f"Move each into a folder that is called like its class, {wanted}{tail}",
        )


def _reject_labels_outside_folders(tree: FolderTree, folder: Path, names: Sequence[str]) -> None:
    """Rejects photos whose class is given by a table or by their file names."""
    photos = [name for name in names if PHOTO.search(name)]
    tables = sorted(name for name in {*names, *tree.root_files} if TABLE.search(name))
    if photos and tables:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself and {join_names(tables)} beside them; classes "
            "are read from folders, not from tables",
            f"Move each photo into a folder that is called like its class, {folder}/<class>/<photo>",
        )
    labels = Counter(match["label"] for name in photos if (match := CLASS_IN_NAME.match(name)))
    classes = [label for label, _ in labels.most_common() if label.lower() not in CAMERA_PREFIXES]
    if len(classes) > 1 and sum(labels[label] for label in classes) > 0.9 * len(photos):
        # Class folders belong below a split folder, or else at the top level.
        above = folder if split_from_name(folder.name) is not None else tree.folder
        first, target = quote(str(folder / classes[0])), quote(str(above / classes[0]))
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself, and their names begin with what they show: "
            + join_names([f"{labels[label]:,} {label}" for label in classes]),
            f"Make a folder of each, as `mkdir {target} && mv {first}[._0-9\\ -]* {target}/`",
        )
