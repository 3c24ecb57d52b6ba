"""The files below a folder of photos, sorted by how deep they lie, and without what no person put there."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data import ignored_files
from pipeline.markdown import plain_text

Parts = tuple[str, ...]

# Names of folders that are a split, in any case: `train`, `Training`, `training_set`, `test1`, `seg_train`.
MEANINGS = {"train": "train|training|trn", "valid": "val|valid|validation|dev", "test": "test|testing|tst"}
SPLIT_NAME = re.compile(
    rf"(seg[ _.-])?({'|'.join(f'(?P<{split}>{names})' for split, names in MEANINGS.items())})"
    r"([ _.-]?(set|data|dataset|images?|imgs?|folder|dir|split))?([ _.-]?\d{1,2})?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Tree:
    """What a folder holds. `below` has the files of each folder in it, as paths below that one.

    `beside` are files in the folder itself, `links` are links to folders, `junk` is what nobody means.
    """

    folder: Path
    beside: list[str] = field(default_factory=list)
    below: dict[str, list[Parts]] = field(default_factory=lambda: defaultdict(list))
    links: list[str] = field(default_factory=list)
    junk: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, folder: Path) -> "Tree":
        """Walks over a folder, in the order of names; an `OSError` says which part cannot be read."""
        tree = cls(folder)
        for path in sorted(_walk(folder)):
            tree._add(path, path.relative_to(folder).parts)
        return tree

    def _add(self, path: Path, parts: Parts) -> None:
        if path.is_symlink() and path.is_dir():
            if all(ignored_files.of_folder(name) is None for name in parts):
                self.links.append(f"{'/'.join(parts)}/")
        elif (kind := ignored_files.kind(parts, path)) is not None:
            self.junk[kind] += 1
        elif len(parts) == 1:
            self.beside.append(parts[0])
        else:
            self.below[parts[0]].append(parts[1:])

    def flat(self, name: str) -> list[str]:
        """The files in one of the folders itself."""
        return [parts[0] for parts in self.below[name] if len(parts) == 1]

    def inner(self, name: str) -> dict[str, list[Parts]]:
        """The folders in one of the folders, as far as there are files in them."""
        found: dict[str, list[Parts]] = defaultdict(list)
        for parts in self.below[name]:
            if len(parts) > 1:
                found[parts[0]].append(parts[1:])
        return found


def split_of(name: str) -> str | None:
    """The split that a folder's name means: train, valid or test."""
    match = SPLIT_NAME.fullmatch(name)
    return next((split for split in MEANINGS if match[split]), None) if match else None


def class_names(folder: Path) -> list[str]:
    """The class folders, also those without a file. Links are none."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and ignored_files.of_folder(path.name) is None
    )


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence."""
    shown = ", ".join(plain_text(name, 80) for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def _walk(folder: Path) -> Iterator[Path]:
    """Files, and links to folders: DVC does not follow these either, and they may lead in circles."""

    def stop(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=stop):
        yield from (Path(root, name) for name in files)
        yield from (path for name in folders if (path := Path(root, name)).is_symlink())
