"""Checks and splits the images of a model, and drops duplicates.

Reads `data/raw/<model>`: class folders, the same below split folders, or a source.yaml recipe; for a model
that the user brings, its file, and photos in class folders, photos without labels, or no photos.
Writes `data/prepared/<model>/{train,valid,test}/<class>/<file>`, with unchanged bytes unless a conversion was
requested, `unlabelled/<file>`, `files/` (the user's model, labels and code) and `report.json`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.data import ignored_files, summary, user_files
from pipeline.data.images import LabelledImage, Rejection, check_images, find_duplicates
from pipeline.data.labelled_photos import UNLABELLED, FolderScan, scan_folder, scan_unlabelled
from pipeline.data.recipe import builtin_data_set
from pipeline.data.sources import open_source
from pipeline.data.split import SPLITS, assign_by_hash, assign_stratified
from pipeline.environment import Environment
from pipeline.errors import DataRefused
from pipeline.files import replace_folder, sha256_of, write
from pipeline.layout import Layout
from serving.artifact.files import to_json

LINK_REASON = (
    "it is a link to a folder, which DVC does not follow: put the folder itself there, as `cp -rL` does"
)


def main(model: str) -> None:
    """Runs the stage."""
    layout, all_params = Layout(model), params.load()
    settings = all_params.for_model(model).prepare
    if not layout.raw.is_dir():
        raise all_params.unknown_model_error(model)
    with open_source(layout.raw, Environment.read()) as folder:
        unlabelled = scan_unlabelled(folder)
        scan = unlabelled or scan_folder(folder, settings.split)
        checked = list(check_images(folder, scan.photos, settings.convert))
        # Test before validation before training: of duplicates in several splits, the first is kept.
        images = sorted(
            (image for image in checked if isinstance(image, LabelledImage)),
            key=lambda image: SPLITS[::-1].index(image.split) if image.split in SPLITS else 0,
        )
        duplicates, mislabelled = find_duplicates(images)
        kept = [image for image in images if image.name not in duplicates]
        splits = assign_splits(kept, settings)
        near_duplicates = summary.near_duplicates(kept, splits)
        lines = [
            *(
                [summary.describe_unlabelled(kept)]
                if unlabelled
                else [
                    summary.describe_split(scan, settings),
                    *summary.class_table(scan.classes, kept, splits),
                ]
            ),
            *summary.limit_notes(
                [*notes(scan, images, duplicates), *summary.near_duplicate_notes(near_duplicates)]
            ),
        ]
        print("\n".join(f"prepare {model}: {line}" for line in lines))
        rejections = [
            *(Rejection(name, LINK_REASON) for name in scan.folder_links),
            *(image for image in checked if isinstance(image, Rejection)),
            *mislabelled,
            *([] if unlabelled else class_rejections(kept, splits, settings, scan.classes)),
        ]
        if rejections:
            raise DataRefused(layout.raw, [(item.name, item.reason) for item in rejections])
        with replace_folder(layout.prepared) as prepared:
            write_images(kept, splits, prepared)
            user_files.copy_user_files(layout.raw, prepared / layout.user_files.name)
            report = data_report(kept, splits, duplicates, near_duplicates, prepared)
            # Evaluation has foreign images for the built-in data, see `find_foreign_images`.
            if data_set := builtin_data_set(layout.raw):
                report["data_set"] = data_set
            write(prepared / layout.data_report.name, to_json(report))


def notes(scan: FolderScan, images: Sequence[LabelledImage], duplicates: dict[str, str]) -> Iterable[str]:
    """Lines about skipped files, duplicates, similar class names and conversions."""
    if ignored := ignored_files.ignored_summary(scan.ignored):
        yield ignored
    yield from scan.notes
    yield from summary.duplicate_notes(duplicates, images)
    yield from summary.similar_name_warnings(scan.classes)
    if converted := Counter(image.converted_from for image in images if image.converted_from):
        yield "converted to PNG: " + ", ".join(f"{count:,} {name}" for name, count in converted.items())


def write_images(images: Iterable[LabelledImage], splits: dict[str, str], prepared: Path) -> None:
    """Writes the images into the folders of their splits."""
    for image in images:
        target = prepared / splits[image.name] / image.target
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x", because a converted photo may have the name of another one.
        with target.open("xb") as file:
            file.write(image.data())


def assign_splits(images: Iterable[LabelledImage], settings: params.Prepare) -> dict[str, str]:
    """Maps each image's name to its split, class by class: by its folder if that gives one, else by content.

    Splits that the folders lack are cut from the training images.
    """
    images = list(images)
    given = {image.split for image in images} - {None}
    splits = {image.name: image.split for image in images if image.split not in (None, "train")}
    classes: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        if image.name not in splits:
            classes[image.label].append(image)
    assign = assign_stratified if settings.stratify else assign_by_hash
    valid, test = (0 if name in given else getattr(settings, name) for name in ("valid", "test"))
    for members in classes.values():
        assigned = assign({image.sha256 for image in members}, valid, test)
        splits |= {image.name: assigned[image.sha256] for image in members}
    return splits


def class_rejections(
    images: Sequence[LabelledImage],
    splits: dict[str, str],
    settings: params.Prepare,
    classes: Iterable[str],
) -> Iterable[Rejection]:
    """Classes with too few images to train or test them."""
    counts = Counter(dict.fromkeys(classes, 0))
    counts.update(image.label for image in images)
    filled = {(image.label, splits[image.name]) for image in images}
    # A model without training may use the only image of a class for calibration.
    trained = settings.test + settings.valid < 1
    if len(counts) < 2:
        yield Rejection("(all)", f"{len(counts)} class folders with images; two classes are the least")
    if images and "test" not in splits.values():
        yield Rejection("(all)", "no image is left to test; prepare.test is too small a share")
    for label, count in sorted(counts.items()):
        if count < settings.min_per_class:
            yield Rejection(
                f"{label}/", f"{count} different images; prepare.min_per_class is {settings.min_per_class}"
            )
        elif (label, "test") not in filled and (trained or count > 1):
            yield Rejection(f"{label}/", "no image is left to test it; add some")
        elif trained and (label, "train") not in filled:
            yield Rejection(f"{label}/", "no image is left to train it; add some")


def data_report(
    images: Sequence[LabelledImage],
    splits: dict[str, str],
    duplicates: dict[str, str],
    near_duplicates: summary.NearDuplicates,
    prepared: Path,
) -> dict[str, Any]:
    """report.json: image counts, duplicates, near-duplicates, and a digest of images and user's files."""
    user_files = {
        path.relative_to(prepared).as_posix(): sha256_of(path)
        for path in (prepared / "files").rglob("*")
        if path.is_file()
    }
    lines = sorted(
        [
            *(f"{image.sha256} {splits[image.name]}/{image.target}\n" for image in images),
            *(f"{sha256} {path}\n" for path, sha256 in user_files.items()),
        ]
    )
    unlabelled = sum(split == UNLABELLED for split in splits.values())
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        counts[image.label][splits[image.name]] += 1
    return {
        "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "images": {name: sum(count[name] for count in counts.values()) for name in SPLITS},
        **({"unlabelled": unlabelled} if unlabelled else {}),
        "classes": {
            label: {name: count[name] for name in SPLITS} for label, count in counts.items() if label
        },
        "repeated": duplicates,
        "look_alikes_across_splits": _count_and_first(near_duplicates.across_splits),
        "look_alikes_across_classes": _count_and_first(near_duplicates.across_classes),
    }


def _count_and_first(pairs: list[list[str]]) -> dict[str, Any]:
    return {"pairs": len(pairs), "first": pairs[: summary.REPORTED_PAIRS]}


if __name__ == "__main__":
    run_stage(main)
