"""The images that a model should not know: those of the user, or built-in ones for the built-in models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import ignored_files
from pipeline.evaluation.builtin_foreign_images import builtin_groups
from pipeline.layout import Layout

BUILTIN = "built in"


@dataclass(frozen=True)
class ForeignImage:
    """`content` is the encoded image or its file. `group` is None for a file that is in no folder."""

    group: str | None
    name: str
    content: bytes | Path

    def read(self) -> bytes:
        """The encoded image; raises `OSError`."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class ForeignImages:
    """`source` is the folder, or `BUILTIN`."""

    source: str
    images: list[ForeignImage]


def find_foreign_images(layout: Layout, data_set: str | None) -> ForeignImages | None:
    """The images of `data/foreign/<model>/`; without that folder built-in ones, for a built-in data set."""
    if layout.foreign.is_dir():
        return ForeignImages(layout.foreign.as_posix(), list(_images_of(layout.foreign)))
    if data_set is None:
        return None
    groups = builtin_groups(data_set)
    images = [
        ForeignImage(group, f"{group}/{number}.png", data)
        for group, files in groups.items()
        for number, data in enumerate(files)
    ]
    return ForeignImages(BUILTIN, images)


def _images_of(folder: Path) -> Iterator[ForeignImage]:
    """All files that may be images. Those of a folder in `folder`, however deep, are one group."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and ignored_files.ignore_reason(parts, path) is None:
            yield ForeignImage(parts[0] if len(parts) > 1 else None, "/".join(parts), path)
