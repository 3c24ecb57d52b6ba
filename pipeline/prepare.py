"""Checks and splits the images of a model.

Reads `data/raw/<model>`: class folders, or a source.yaml recipe.
Writes `data/prepared/<model>/{train,valid,test}/<class>/<file>`, bytes as they came, and `report.json`.
"""

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline import params
from pipeline.entry import stage
from pipeline.errors import DataRefused, ModelUnknown
from pipeline.files import replacing, write
from pipeline.images import Labelled, Refused, class_names, duplicates, inspect, listing
from pipeline.junk import told
from pipeline.layout import Layout
from pipeline.sources import class_folders
from pipeline.split import SPLITS, assign
from serving.bundle import to_json

# Pairs of look-alikes that the report names; more would hide the rest of it.
PAIRS = 20


def main(model: str) -> None:
    """Runs the stage."""
    layout, all_params = Layout(model), params.load()
    settings = all_params.of(model).prepare
    if not layout.raw.is_dir():
        raise ModelUnknown(model, all_params.sections, layout.raw)
    with class_folders(layout.raw, params.Environment.read()) as folder:
        found = listing(folder)
        if note := told(found.passed_over):
            print(f"prepare {model}: {note}")
        inspected = list(inspect(folder, found.files))
        images = [image for image in inspected if isinstance(image, Labelled)]
        repeated, mislabelled = duplicates(images)
        kept = [image for image in images if image.name not in repeated]
        splits = split(kept, settings)
        refused = [image for image in inspected if isinstance(image, Refused)] + mislabelled
        refused += too_few(kept, splits, settings, class_names(folder))
        if refused:
            raise DataRefused(layout.raw, [(item.name, item.reason) for item in refused])
        with replacing(layout.prepared) as prepared:
            for image in kept:
                target = prepared / splits[image.name] / image.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image.path, target)
            write(prepared / layout.data_report.name, to_json(report(kept, splits, repeated)))
    counts = Counter(splits.values())
    print(f"prepare {model}: " + ", ".join(f"{counts[name]} {name}" for name in SPLITS))


def split(images: Iterable[Labelled], settings: params.Prepare) -> dict[str, str]:
    """Gives each image's name its split, class by class."""
    classes: dict[str, list[Labelled]] = defaultdict(list)
    for image in images:
        classes[image.label].append(image)
    splits: dict[str, str] = {}
    for members in classes.values():
        assigned = assign({image.sha256 for image in members}, settings.valid, settings.test)
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


def report(images: Sequence[Labelled], splits: dict[str, str], repeated: dict[str, str]) -> dict[str, Any]:
    """The facts about the data: counts, what was left out, look-alikes across splits, and its digest."""
    lines = sorted(f"{image.sha256} {splits[image.name]}/{image.name}\n" for image in images)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        counts[image.label][splits[image.name]] += 1
    alike = look_alikes(images, splits)
    return {
        "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "images": {name: sum(count[name] for count in counts.values()) for name in SPLITS},
        "classes": {label: {name: count[name] for name in SPLITS} for label, count in counts.items()},
        "repeated": repeated,
        "look_alikes_across_splits": {"pairs": len(alike), "first": alike[:PAIRS]},
    }


def look_alikes(images: Sequence[Labelled], splits: dict[str, str]) -> list[list[str]]:
    """Pairs of different images that look the same, one tested on and one not: they flatter the result."""
    groups: dict[int, list[Labelled]] = defaultdict(list)
    for image in images:
        groups[image.look.hash].append(image)
    return [
        sorted([tested.name, other.name])
        for group in groups.values()
        for tested in group
        if splits[tested.name] == "test"
        for other in group
        if splits[other.name] != "test" and tested.look.like(other.look)
    ]


if __name__ == "__main__":
    stage(main)
