"""The files below a folder of photos, grouped by top-level folder, without files that are never photos."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data import ignored_files
from pipeline.markdown import plain_text

Parts = tuple[str, ...]

# Folder names that mean a split, in any case: `train`, `Training`, `training_set`, `test1`, `seg_train`.
SPLIT_SYNONYMS = {
    "train": "train|training|trn",
    "valid": "val|valid|validation|dev",
    "test": "test|testing|tst",
}
SPLIT_PATTERN = re.compile(
    rf"(seg[ _.-])?({'|'.join(f'(?P<{split}>{names})' for split, names in SPLIT_SYNONYMS.items())})"
    r"([ _.-]?(set|data|dataset|images?|imgs?|folder|dir|split))?([ _.-]?\d{1,2})?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FolderTree:
    """The content of a folder.

    `root_files` lie in the folder itself. `files` maps each top-level folder to its files, as path parts
    below it. `folder_links` are symbolic links to folders. `ignored` counts ignored files by reason.
    """

    folder: Path
    root_files: list[str] = field(default_factory=list)
    files: dict[str, list[Parts]] = field(default_factory=lambda: defaultdict(list))
    folder_links: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def scan(cls, folder: Path) -> "FolderTree":
        """Reads a folder recursively, sorted by name; raises `OSError` if a part cannot be read."""
        tree = cls(folder)
        for path in sorted(_walk(folder)):
            tree._add(path, path.relative_to(folder).parts)
        return tree

    def _add(self, path: Path, parts: Parts) -> None:
        if path.is_symlink() and path.is_dir():
            if all(ignored_files.folder_ignore_reason(name) is None for name in parts):
                self.folder_links.append(f"{'/'.join(parts)}/")
        elif (reason := ignored_files.ignore_reason(parts, path)) is not None:
            self.ignored[reason] += 1
        elif len(parts) == 1:
            self.root_files.append(parts[0])
        else:
            self.files[parts[0]].append(parts[1:])

    def direct_files(self, name: str) -> list[str]:
        """The names of the files directly in a top-level folder."""
        return [parts[0] for parts in self.files[name] if len(parts) == 1]

    def subfolders(self, name: str) -> dict[str, list[Parts]]:
        """The subfolders of a top-level folder that contain files, with those files."""
        found: dict[str, list[Parts]] = defaultdict(list)
        for parts in self.files[name]:
            if len(parts) > 1:
                found[parts[0]].append(parts[1:])
        return found


def split_from_name(name: str) -> str | None:
    """The split that a folder's name means: train, valid or test; `None` if it means none."""
    match = SPLIT_PATTERN.fullmatch(name)
    return next((split for split in SPLIT_SYNONYMS if match[split]), None) if match else None


def class_names(folder: Path) -> list[str]:
    """The names of the class folders, empty ones included, symbolic links excluded."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and ignored_files.folder_ignore_reason(path.name) is None
    )


def join_names(names: Sequence[str], limit: int = 4) -> str:
    """Up to `limit` names separated by commas, and the number of the others."""
    shown = ", ".join(plain_text(name, 80) for name in names[:limit])
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown


def _walk(folder: Path) -> Iterator[Path]:
    """Files, and links to folders. Links are not followed: DVC does not either, and they may form cycles."""

    def stop(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=stop):
        yield from (Path(root, name) for name in files)
        yield from (path for name in folders if (path := Path(root, name)).is_symlink())
