"""What `prepare` prints, limited to one screen: class counts, split, skipped files, warnings."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.folder_tree import join_names
from pipeline.data.images import LabelledImage
from pipeline.data.labelled_photos import FolderScan
from pipeline.data.near_duplicates import find_near_duplicates
from pipeline.data.split import SPLITS
from pipeline.markdown import plain_text
from pipeline.params import Prepare

# If there are more classes than these, only the largest and the smallest are shown.
LARGEST, SMALLEST = 8, 4
LABEL_WIDTH = 32
# Numbers of near-duplicate pairs that are named in the report and on the terminal.
REPORTED_PAIRS, PRINTED_PAIRS = 20, 3
MAX_NOTES = 10


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of near-duplicates, by name.

    `across_splits`: one image is in the test split, the other is not. `across_classes`: the classes differ.
    """

    across_splits: list[list[str]]
    across_classes: list[list[str]]


def near_duplicates(images: Sequence[LabelledImage], splits: Mapping[str, str]) -> NearDuplicates:
    """Finds pairs that make the test result too good, or of which one label is wrong."""
    pairs = [
        (images[one], images[other])
        for one, other in find_near_duplicates([image.perceptual_hash for image in images])
    ]
    across_splits = [
        sorted([one.name, other.name])
        for one, other in pairs
        if (splits[one.name] == "test") != (splits[other.name] == "test")
    ]
    across_classes = [sorted([one.name, other.name]) for one, other in pairs if one.label != other.label]
    return NearDuplicates(across_splits, across_classes)


def class_table(
    classes: Iterable[str], images: Iterable[LabelledImage], splits: Mapping[str, str]
) -> list[str]:
    """One line per class with its number of images in each split; of many classes, a selection."""
    counts: dict[str, Counter[str]] = {label: Counter() for label in classes}
    for image in images:
        counts[image.label][splits[image.name]] += 1
    ordered = sorted(counts, key=lambda label: (-counts[label].total(), label))
    rows = [_row(plain_text(label, LABEL_WIDTH), counts[label]) for label in ordered]
    if len(rows) > LARGEST + SMALLEST + 1:
        left_out = f"  ... {len(rows) - LARGEST - SMALLEST:,} classes between them"
        rows = [*rows[:LARGEST], left_out, *rows[-SMALLEST:]]
    total = sum(counts.values(), Counter[str]())
    head = _columns("class", [*SPLITS, "all"])
    return [head, *rows, _row(f"{len(counts):,} classes", total)]


def describe_split(scan: FolderScan, settings: Prepare) -> str:
    """One sentence on how the images are split."""
    near = ", stratified" if settings.stratify else ""
    shares = (
        f"valid {100 * settings.valid:g}% and test {100 * settings.test:g}% of each class, by content{near}"
    )
    if not scan.splits:
        return shares
    given = ", ".join(f"{name}/ is {split}" for name, split in sorted(scan.splits.items()))
    missing = [split for split in ("valid", "test") if split not in scan.splits.values()]
    cut = [f"{split} {100 * getattr(settings, split):g}%" for split in missing if getattr(settings, split)]
    rest = f"; {' and '.join(cut)} of train/ of each class, by content{near}" if cut else ""
    return f"by folders: {given}{rest}"


def similar_name_warnings(labels: Iterable[str]) -> Iterator[str]:
    """Warns of class names that differ only in case, spacing or Unicode form."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        plain_name = unicodedata.normalize("NFKC", label).casefold()
        groups[re.sub(r"[\s_-]+", " ", plain_name).strip()].append(label)
    for group in groups.values():
        if len(group) > 1:
            names = join_names(
                [ascii(label) if _looks_like_another(label, group) else repr(label) for label in group]
            )
            yield f"warning: {names} are different classes; if they are meant as one, put them together"
        elif group[0] != group[0].strip():
            yield f"warning: the class {group[0]!r} begins or ends with a space"


def _looks_like_another(label: str, group: Sequence[str]) -> bool:
    """Does another label of the group look the same when printed?"""
    composed = [unicodedata.normalize("NFC", other) for other in group]
    return composed.count(unicodedata.normalize("NFC", label)) > 1


def near_duplicate_notes(found: NearDuplicates) -> Iterator[str]:
    """Explains the consequence of near-duplicates across classes and splits."""
    if found.across_classes:
        shown = "; ".join(" and ".join(pair) for pair in found.across_classes[:PRINTED_PAIRS])
        yield (
            f"warning: {len(found.across_classes):,} pairs of two classes look like one picture, saved "
            f"twice: {shown}; keep each in the class that it shows"
        )
    if found.across_splits:
        yield (
            f"note: {len(found.across_splits):,} pairs look alike, one tested and one not: they flatter the "
            "result (report.json names them)"
        )


def duplicate_notes(duplicates: Mapping[str, str], images: Iterable[LabelledImage]) -> Iterator[str]:
    """How many duplicates were skipped, and how many of them were in two splits."""
    if not duplicates:
        return
    given = {image.name: image.split for image in images}
    across = sum(given[name] != given[first] for name, first in duplicates.items())
    yield f"passed over: {len(duplicates):,} images that show the picture of another one in their class"
    if across:
        yield f"warning: {across:,} of these are in two splits; they were kept in test, or else in valid"


def limit_notes(notes: Iterable[str]) -> list[str]:
    """At most `MAX_NOTES` lines."""
    every = list(notes)
    rest = [f"... and {len(every) - MAX_NOTES + 1:,} more notes"] if len(every) > MAX_NOTES else []
    return [*every[: MAX_NOTES - len(rest)], *rest]


def _row(name: str, counts: Mapping[str, int]) -> str:
    numbers = [counts[split] for split in SPLITS]
    return _columns(name, [f"{number:,}" for number in (*numbers, sum(numbers))])


def _columns(name: str, cells: Iterable[str]) -> str:
    # Wide (Chinese, Japanese, Korean) characters take two columns.
    width = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in name)
    return f"  {name}{' ' * max(0, LABEL_WIDTH - width)}" + "".join(f"{cell:>9}" for cell in cells)
