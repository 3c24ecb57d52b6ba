"""Checks and splits the images of a model.

Reads `data/raw/<model>`: class folders, the same below folders of a split, or a source.yaml recipe.
Writes `data/prepared/<model>/{train,valid,test}/<class>/<file>`, bytes as they came unless they had to be
converted, and `report.json`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.data import ignored_files, summary
from pipeline.data.images import Labelled, Refused, duplicates, inspect
from pipeline.data.labelled_photos import Found, listing
from pipeline.data.sources import class_folders
from pipeline.data.split import SPLITS, assign, stratified
from pipeline.environment import Environment
from pipeline.errors import DataRefused
from pipeline.files import replace_folder, write
from pipeline.layout import Layout
from serving.artifact.bundle import to_json

LINK = "it is a link to a folder, which DVC does not follow: put the folder itself there, as `cp -rL` does"


def main(model: str) -> None:
    """Runs the stage."""
    layout, all_params = Layout(model), params.load()
    settings = all_params.for_model(model).prepare
    if not layout.raw.is_dir():
        raise all_params.unknown_model_error(model)
    with class_folders(layout.raw, Environment.read()) as folder:
        found = listing(folder, settings.split)
        inspected = list(inspect(folder, found.files, settings.convert))
        # Of a picture in several splits the one that is tested counts.
        images = sorted(
            (image for image in inspected if isinstance(image, Labelled)),
            key=lambda image: SPLITS[::-1].index(image.split) if image.split else 0,
        )
        repeated, mislabelled = duplicates(images)
        kept = [image for image in images if image.name not in repeated]
        splits = split(kept, settings)
        alike = summary.pairs(kept, splits)
        said = [summary.how(found, settings), *summary.table(found.classes, kept, splits)]
        said += summary.shortened([*notes(found, images, repeated), *summary.of_pairs(alike)])
        print("\n".join(f"prepare {model}: {line}" for line in said))
        refused = [Refused(name, LINK) for name in found.links]
        refused += [image for image in inspected if isinstance(image, Refused)] + mislabelled
        refused += too_few(kept, splits, settings, found.classes)
        if refused:
            raise DataRefused(layout.raw, [(item.name, item.reason) for item in refused])
        with replace_folder(layout.prepared) as prepared:
            copy(kept, splits, prepared)
            write(prepared / layout.data_report.name, to_json(report(kept, splits, repeated, alike)))


def notes(found: Found, images: Sequence[Labelled], repeated: dict[str, str]) -> Iterable[str]:
    """What is passed over and why, and what looks like a mistake."""
    if told := ignored_files.told(found.passed_over):
        yield told
    yield from found.notes
    yield from summary.of_repeated(repeated, images)
    yield from summary.similar(found.classes)
    if converted := Counter(image.converted for image in images if image.converted):
        yield "converted to PNG: " + ", ".join(f"{count:,} {name}" for name, count in converted.items())


def copy(images: Iterable[Labelled], splits: dict[str, str], prepared: Path) -> None:
    """Writes the images into the folders of their splits."""
    for image in images:
        target = prepared / splits[image.name] / image.target
        target.parent.mkdir(parents=True, exist_ok=True)
        # A converted photo may get the name of another one.
        with target.open("xb") as file:
            file.write(image.data())


def split(images: Iterable[Labelled], settings: params.Prepare) -> dict[str, str]:
    """Gives each image's name its split, class by class: what its folder says, else what its content says.

    Where the folders give some splits, the missing ones are cut from their training images.
    """
    images = list(images)
    given = {image.split for image in images} - {None}
    splits = {image.name: image.split for image in images if image.split not in (None, "train")}
    classes: dict[str, list[Labelled]] = defaultdict(list)
    for image in images:
        if image.name not in splits:
            classes[image.label].append(image)
    share = stratified if settings.stratify else assign
    valid, test = (0 if name in given else getattr(settings, name) for name in ("valid", "test"))
    for members in classes.values():
        assigned = share({image.sha256 for image in members}, valid, test)
        splits |= {image.name: assigned[image.sha256] for image in members}
    return splits


def too_few(
    images: Sequence[Labelled], splits: dict[str, str], settings: params.Prepare, classes: Iterable[str]
) -> Iterable[Refused]:
    """Says of each class that cannot be learned or measured what it lacks."""
    counts = Counter(dict.fromkeys(classes, 0))
    counts.update(image.label for image in images)
    filled = {(image.label, splits[image.name]) for image in images}
    # Where nothing is trained, the only image of a class may be one that calibrates.
    trained = settings.test + settings.valid < 1
    if len(counts) < 2:
        yield Refused("(all)", f"{len(counts)} class folders with images; two classes are the least")
    if images and "test" not in splits.values():
        yield Refused("(all)", "no image is left to test; prepare.test is too small a share")
    for label, count in sorted(counts.items()):
        if count < settings.min_per_class:
            yield Refused(
                f"{label}/", f"{count} different images; prepare.min_per_class is {settings.min_per_class}"
            )
        elif (label, "test") not in filled and (trained or count > 1):
            yield Refused(f"{label}/", "no image is left to test it; add some")
        elif trained and (label, "train") not in filled:
            yield Refused(f"{label}/", "no image is left to train it; add some")


def report(
    images: Sequence[Labelled], splits: dict[str, str], repeated: dict[str, str], alike: summary.Pairs
) -> dict[str, Any]:
    """The facts about the data: counts, what was left out, look-alikes, and its digest."""
    lines = sorted(f"{image.sha256} {splits[image.name]}/{image.target}\n" for image in images)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        counts[image.label][splits[image.name]] += 1
    return {
        "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "images": {name: sum(count[name] for count in counts.values()) for name in SPLITS},
        "classes": {label: {name: count[name] for name in SPLITS} for label, count in counts.items()},
        "repeated": repeated,
        "look_alikes_across_splits": _some(alike.across_splits),
        "look_alikes_across_classes": _some(alike.across_classes),
    }


def _some(found: list[list[str]]) -> dict[str, Any]:
    return {"pairs": len(found), "first": found[: summary.PAIRS]}


if __name__ == "__main__":
    run_stage(main)
