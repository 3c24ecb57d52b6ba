"""`inspect`: what a model file holds, and how it wants its pixels, measured on labelled photos."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.labelled_photos import scan_folder
from pipeline.environment import Environment
from pipeline.errors import DataRefused, SizeUndeclared
from pipeline.files import sha256_of
from pipeline.importing.candidates import first_guess, resize_candidates, scale_candidates
from pipeline.importing.declaration import Declaration
from pipeline.importing.label_order import LabelOrder
from pipeline.importing.labels import load_labels, match_folders
from pipeline.importing.trials import LabelledFile, Network, Trial, run_trials
from pipeline.model_files.labels import check_count
from pipeline.model_files.model_file import Description, Head, ModelFile
from pipeline.model_files.opening import open_model_file
from pipeline.onnx.probability_check import TOLERANCE
from pipeline.onnx.served_graph import scale_pixels
from serving.artifact.bundle import Label
from serving.errors import ImageError
from serving.model.decoder import Preprocessing, decode

# Trials stop after this number of photos; two ways that are still equal then hardly matter.
MAX_PHOTOS = 1000
# To find photos that cannot be read. It is small, because a JPEG is then decoded at an eighth of its size.
PROBE = Preprocessing(32, 32, 3, "crop", 1.0, "bicubic", True)
# Level of the paired test between ways to resize.
SIGNIFICANCE = 0.05
# Images whose outputs tell probabilities from logits where the layers do not.
HEAD_IMAGES = 8


@dataclass(frozen=True)
class Request:
    """The arguments of `inspect`. `size` is (height, width) for a network that takes any size."""

    file: Path
    photos: Path | None = None
    labels: Path | None = None
    size: tuple[int, int] | None = None
    code: Path | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Inspection:
    """The result: what was found, and the best declaration with its trials.

    `labels` are in the order of the outputs, corrected if `label_order` is set; `head` is None if neither the
    file nor photos tell. Without photos there are no trials, and `best` is what the file says.
    """

    request: Request
    description: Description
    labels: list[Label] | None
    head: Head | None
    best: Declaration
    scale_trials: list[Trial]
    resize_trials: list[Trial]
    label_order: LabelOrder | None
    smallest_class: int | None


def inspect(request: Request, environment: Environment) -> Inspection:
    """Reads the file, and tries all ways to prepare pixels on the photos, if there are any."""
    file = open_model_file(request.file, request.code, request.architecture)
    description = file.description
    size = _size(request, description)
    guess = first_guess(description, size)
    folders, paths = _scan(request.photos)
    labels = _labels(request, environment, folders, description)
    smallest_class = min(Counter(label for _, label in paths).values(), default=None)
    if not paths or labels is None:
        return Inspection(request, description, labels, description.head, guess, [], [], None, smallest_class)
    photos = _readable(paths, labels)
    head = description.head or _find_head(file, guess, photos)
    network = Network.open(file.to_onnx(*size), description, head)

    scale_trials = run_trials(
        network, photos, scale_candidates(guess, description), description="try scales and channels"
    )
    names = [label.name for label in labels]
    orders = [(trial, trial.label_order(names)) for trial in scale_trials]
    # With the wrong order of labels all scales look alike; then the one that is best in its own order counts.
    best, label_order = max(orders, key=lambda pair: _share(*pair))
    if label_order is not None:
        labels = [labels[number] for number in label_order.order]
        photos = _relabel(photos, label_order)
        scale_trials = run_trials(
            network, photos, [trial.declaration for trial in scale_trials], description="try again"
        )
        best = scale_trials[0]
    resize_trials = run_trials(
        network, photos, resize_candidates(best.declaration), description="try ways to resize"
    )
    return Inspection(
        request,
        description,
        labels,
        head,
        recommend(resize_trials).declaration,
        scale_trials,
        resize_trials,
        label_order,
        smallest_class,
    )


def recommend(trials: Sequence[Trial]) -> Trial:
    """The best trial; of those that are not significantly worse, one with antialiasing is preferred.

    Without it an image has to be decoded in full size, which takes the server several times as long.
    """
    best = trials[0]
    equal = [trial for trial in trials if trial.worse_than(best)[2] >= SIGNIFICANCE]
    return max(equal, key=lambda trial: (trial.declaration.preprocessing.antialias, trial.top1))


def _size(request: Request, description: Description) -> tuple[int, int]:
    height, width = request.size or (description.height, description.width)
    if height is None or width is None:
        raise SizeUndeclared(request.file)
    return height, width


def _scan(photos: Path | None) -> tuple[list[str], list[tuple[Path, str]]]:
    """The class folders, and each photo with its class: classes in turn, so that the first ones show all."""
    if photos is None:
        return [], []
    scan = scan_folder(photos)
    members: dict[str, list[tuple[str, Path]]] = {}
    for photo in scan.photos:
        members.setdefault(photo.label, []).append((sha256_of(photo.path), photo.path))
    ranked = sorted(
        (rank, digest, path, label)
        for label, files in members.items()
        for rank, (digest, path) in enumerate(sorted(files))
    )
    return scan.classes, [(path, label) for _, _, path, label in ranked]


def _labels(
    request: Request, environment: Environment, folders: Sequence[str], description: Description
) -> list[Label] | None:
    """The given labels; else the class folders, sorted as Keras does, if their number fits."""
    if request.labels is None:
        classes = 2 if description.outputs == 1 else description.outputs
        return [Label(name, name) for name in folders] if len(folders) == classes else None
    labels = load_labels(request.labels, environment)
    check_count(labels, description.outputs, description.head, request.labels)
    return match_folders(labels, folders, request.photos) if request.photos else labels


def _readable(paths: Sequence[tuple[Path, str]], labels: Sequence[Label]) -> list[LabelledFile]:
    """The first photos that can be decoded; the others are reported."""
    numbers = {label.id: number for number, label in enumerate(labels)}
    found: list[LabelledFile] = []
    refused: list[tuple[str, str]] = []
    for path, label in paths:
        if len(found) == MAX_PHOTOS:
            break
        try:
            decode(path.read_bytes(), PROBE)
        except (ImageError, OSError) as error:
            refused.append((str(path), str(error)))
        else:
            found.append(LabelledFile(path, numbers[label]))
    if not found:
        raise DataRefused(paths[0][0].parent.parent, refused)
    for name, reason in refused[:3]:
        print(f"passed over: {name}: {reason}")
    if len(refused) > 3:
        print(f"passed over: {len(refused) - 3} more photos that cannot be read")
    return found


def _find_head(file: ModelFile, guess: Declaration, photos: Sequence[LabelledFile]) -> Head:
    """Whether the outputs of some photos are probabilities, where the layers do not tell."""
    pixels = np.stack(
        [decode(photo.path.read_bytes(), guess.preprocessing) for photo in photos[:HEAD_IMAGES]]
    )
    outputs = file.predict(scale_pixels(pixels, guess.scaling(file.description), guess.channels == "BGR"))
    within = bool(((outputs >= -TOLERANCE) & (outputs <= 1 + TOLERANCE)).all())
    if outputs.shape[1] == 1:
        return "sigmoid" if within else "logit"
    return "softmax" if within and np.allclose(outputs.sum(axis=1), 1, atol=TOLERANCE) else "logits"


def _share(trial: Trial, order: LabelOrder | None) -> float:
    """Top-1 of a trial, in the better order of the labels if there is one."""
    return trial.top1 if order is None else order.found / order.photos


def _relabel(photos: Sequence[LabelledFile], order: LabelOrder) -> list[LabelledFile]:
    """The photos with the numbers of their classes in another order of the labels."""
    numbers = {label: number for number, label in enumerate(order.order)}
    return [LabelledFile(photo.path, numbers[photo.label]) for photo in photos]
