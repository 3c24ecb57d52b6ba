"""Photos that are not in class folders, and what to do about it: unpack, sort, or move them one level up."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from pipeline.data import ignored_files
from pipeline.data.folder_tree import Parts, Tree, listed, split_of
from pipeline.errors import FolderLayoutUnclear

ARCHIVE = re.compile(r"\.(zip|tar|tgz|gz|7z|rar|bz2|xz|zst)$", re.IGNORECASE)
TABLE = re.compile(r"\.(csv|tsv|xlsx?|parquet)$", re.IGNORECASE)
PHOTO = re.compile(f"{ignored_files.PHOTO}$", re.IGNORECASE)
# `cat.17.jpg`, `cat_017.jpg`, `cat (17).jpg`: the class is in the name.
NUMBERED = re.compile(r"(?P<label>[^\W\d_][^\d.]*?)[ ._(-]*\d+\)?\.\w+$")
# What files are, and not what they show.
NO_CLASS = re.compile(
    r"(jpe?g|png)?[ _-]?(images?|imgs?|photos?|pictures|pics|annotations?|labels?|masks?|trimaps)",
    re.IGNORECASE,
)
# Cameras and programs number their photos too.
CAMERAS = {
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


def refuse(tree: Tree, splits: Mapping[str, str]) -> None:
    """Raises `FolderLayoutUnclear` if the folders that are to be classes are none."""
    if not tree.below:
        _refuse_photos(tree, tree.folder, tree.beside)
    for split in splits.values():
        if len(same := sorted(name for name in splits if splits[name] == split)) > 1:
            raise FolderLayoutUnclear(
                tree.folder, f"{listed(same)} all mean {split}", "Keep one of them, or put them together"
            )
    for name in splits:
        _refuse_depth(tree, tree.folder / name, tree.inner(name))
    if not splits:
        _refuse_depth(tree, tree.folder, tree.below)
        if len(tree.below) == 1:
            (name,) = tree.below
            _refuse_sorted_otherwise(tree, tree.folder / name, tree.flat(name))


def refuse_unlabelled(tree: Tree, named: Mapping[str, str]) -> None:
    """Of folders that are called like a split or like what is in them, where class folders should be."""
    if not all(name in named or NO_CLASS.fullmatch(name) for name in tree.below):
        return
    # What is to be trained with is spoken of first.
    for name in sorted(tree.below, key=lambda name: (named.get(name) != "train", name)):
        _refuse_photos(
            tree, tree.folder / name, tree.flat(name), "If these are classes, set prepare.split to content"
        )


def _refuse_depth(tree: Tree, top: Path, folders: Mapping[str, Sequence[Parts]]) -> None:
    """Of one folder that holds folders and nothing else, as archives are unpacked."""
    if len(folders) != 1:
        return
    ((name, files),) = folders.items()
    inner = sorted({parts[0] for parts in files})
    if len(inner) > 1 and all(len(parts) > 1 for parts in files):
        here, there = quote(str(top / name)), quote(str(top))
        raise FolderLayoutUnclear(
            tree.folder,
            f"{top / name} is the only folder in {top}, and holds {listed(inner)}: one level too many",
            f"Move these up: `mv {here}/* {there}/ && rmdir {here}`",
        )


def _refuse_photos(tree: Tree, folder: Path, names: Sequence[str], otherwise: str = "") -> None:
    """Of photos, or archives of them, that lie in no class folder."""
    _refuse_sorted_otherwise(tree, folder, names)
    wanted = f"{folder}/<class>/<photo>"
    tail = f". {otherwise}" if otherwise else ""
    if archives := [name for name in names if ARCHIVE.search(name)]:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{listed(archives)} is not unpacked",
            f"Unpack it there, so that each class has a folder, {wanted}{tail}",
        )
    if photos := [name for name in names if PHOTO.search(name)]:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself ({listed(photos)}), in no class folder",
            f"Move each into a folder that is called like its class, {wanted}{tail}",
        )


def _refuse_sorted_otherwise(tree: Tree, folder: Path, names: Sequence[str]) -> None:
    """Of photos whose class is in a table, or in their names."""
    photos = [name for name in names if PHOTO.search(name)]
    tables = sorted(name for name in {*names, *tree.beside} if TABLE.search(name))
    if photos and tables:
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself and {listed(tables)} beside them; classes are "
            "read from folders, not from tables",
            f"Move each photo into a folder that is called like its class, {folder}/<class>/<photo>",
        )
    labels = Counter(match["label"] for name in photos if (match := NUMBERED.match(name)))
    classes = [label for label, _ in labels.most_common() if label.lower() not in CAMERAS]
    if len(classes) > 1 and sum(labels[label] for label in classes) > 0.9 * len(photos):
        # In a folder that is no split, class folders would lie one level too deep.
        above = folder if split_of(folder.name) is not None else tree.folder
        first, target = quote(str(folder / classes[0])), quote(str(above / classes[0]))
        raise FolderLayoutUnclear(
            tree.folder,
            f"{len(photos):,} photos lie in {folder} itself, and their names begin with what they show: "
            + listed([f"{labels[label]:,} {label}" for label in classes]),
            f"Make a folder of each, as `mkdir {target} && mv {first}[._0-9\\ -]* {target}/`",
        )
