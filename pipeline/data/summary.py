"""What `prepare` prints, at most a screen: classes with counts, the split, what is passed over and why."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.folder_tree import listed
from pipeline.data.images import Labelled
from pipeline.data.labelled_photos import Found
from pipeline.data.near_duplicates import alike
from pipeline.data.split import SPLITS
from pipeline.markdown import plain_text
from pipeline.params import Prepare

# Of more classes the largest and the smallest are shown.
LARGEST, SMALLEST = 8, 4
LABEL = 32
# Pairs that the report names, and that are printed; more would hide the rest.
PAIRS, PRINTED = 20, 3
NOTES = 10


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that look the same, by name: one tested and one not, or of two classes."""

    across_splits: list[list[str]]
    across_classes: list[list[str]]


def pairs(images: Sequence[Labelled], splits: Mapping[str, str]) -> Pairs:
    """Finds them. They flatter the result, or one of their labels is wrong."""
    found = [(images[one], images[other]) for one, other in alike([image.look for image in images])]
    tested = [
        sorted([one.name, other.name])
        for one, other in found
        if (splits[one.name] == "test") != (splits[other.name] == "test")
    ]
    return Pairs(tested, [sorted([one.name, other.name]) for one, other in found if one.label != other.label])


def table(classes: Iterable[str], images: Iterable[Labelled], splits: Mapping[str, str]) -> list[str]:
    """A line for each class, with the number of images in each split; if there are many, for some."""
    counts: dict[str, Counter[str]] = {label: Counter() for label in classes}
    for image in images:
        counts[image.label][splits[image.name]] += 1
    ordered = sorted(counts, key=lambda label: (-counts[label].total(), label))
    rows = [_row(plain_text(label, LABEL), counts[label]) for label in ordered]
    if len(rows) > LARGEST + SMALLEST + 1:
        left_out = f"  ... {len(rows) - LARGEST - SMALLEST:,} classes between them"
        rows = [*rows[:LARGEST], left_out, *rows[-SMALLEST:]]
    total = sum(counts.values(), Counter[str]())
    head = _columns("class", [*SPLITS, "all"])
    return [head, *rows, _row(f"{len(counts):,} classes", total)]


def how(found: Found, settings: Prepare) -> str:
    """How the images are split, in a sentence."""
    near = ", stratified" if settings.stratify else ""
    shares = (
        f"valid {100 * settings.valid:g}% and test {100 * settings.test:g}% of each class, by content{near}"
    )
    if not found.splits:
        return shares
    given = ", ".join(f"{name}/ is {split}" for name, split in sorted(found.splits.items()))
    missing = [split for split in ("valid", "test") if split not in found.splits.values()]
    cut = [f"{split} {100 * getattr(settings, split):g}%" for split in missing if getattr(settings, split)]
    rest = f"; {' and '.join(cut)} of train/ of each class, by content{near}" if cut else ""
    return f"by folders: {given}{rest}"


def similar(labels: Iterable[str]) -> Iterator[str]:
    """Classes whose names differ in what people do not see, or do not mean."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        plain_name = unicodedata.normalize("NFKC", label).casefold()
        groups[re.sub(r"[\s_-]+", " ", plain_name).strip()].append(label)
    for group in groups.values():
        if len(group) > 1:
            names = listed([ascii(label) if _unseen(label, group) else repr(label) for label in group])
            yield f"warning: {names} are different classes; if they are meant as one, put them together"
        elif group[0] != group[0].strip():
            yield f"warning: the class {group[0]!r} begins or ends with a space"


def _unseen(label: str, group: Sequence[str]) -> bool:
    """Is there another that looks the same when printed?"""
    composed = [unicodedata.normalize("NFC", other) for other in group]
    return composed.count(unicodedata.normalize("NFC", label)) > 1


def of_pairs(found: Pairs) -> Iterator[str]:
    """What is wrong with pairs that look the same."""
    if found.across_classes:
        shown = "; ".join(" and ".join(pair) for pair in found.across_classes[:PRINTED])
        yield (
            f"warning: {len(found.across_classes):,} pairs of two classes look like one picture, saved "
            f"twice: {shown}; keep each in the class that it shows"
        )
    if found.across_splits:
        yield (
            f"note: {len(found.across_splits):,} pairs look alike, one tested and one not: they flatter the "
            "result (report.json names them)"
        )


def of_repeated(repeated: Mapping[str, str], images: Iterable[Labelled]) -> Iterator[str]:
    """Pictures that are there twice in a class, and those of them that train and test."""
    if not repeated:
        return
    given = {image.name: image.split for image in images}
    across = sum(given[name] != given[first] for name, first in repeated.items())
    yield f"passed over: {len(repeated):,} images that show the picture of another one in their class"
    if across:
        yield f"warning: {across:,} of these are in two splits; they were kept in test, or else in valid"


def shortened(notes: Iterable[str]) -> list[str]:
    """At most `NOTES` lines."""
    every = list(notes)
    rest = [f"... and {len(every) - NOTES + 1:,} more notes"] if len(every) > NOTES else []
    return [*every[: NOTES - len(rest)], *rest]


def _row(name: str, counts: Mapping[str, int]) -> str:
    numbers = [counts[split] for split in SPLITS]
    return _columns(name, [f"{number:,}" for number in (*numbers, sum(numbers))])


def _columns(name: str, cells: Iterable[str]) -> str:
    # Chinese, Japanese and Korean take two places.
    width = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in name)
    return f"  {name}{' ' * max(0, LABEL - width)}" + "".join(f"{cell:>9}" for cell in cells)
