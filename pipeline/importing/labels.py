"""The labels of an imported model, and the class folders that belong to them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.environment import Environment
from pipeline.errors import LabelsUnmatched
from pipeline.model_files.labels import read_labels
from pipeline.network import imagenet
from serving.artifact.bundle import Label

# In place of a file of labels: the 1000 classes of ImageNet, in Keras's order.
IMAGENET_LABELS = "imagenet"


def load_labels(labels: Path, environment: Environment) -> list[Label]:
    """The labels of a file, in its order, or of ImageNet if the name says so and there is no such file."""
    if labels.name == IMAGENET_LABELS and not labels.exists():
        return imagenet.fetch_labels(environment)
    return read_labels(labels)


def match_folders(labels: Sequence[Label], folders: Sequence[str], photos: Path) -> list[Label]:
    """Gives labels the names of their class folders as ids. Raises `LabelsUnmatched` for other folders.

    A folder has the id or the name of its label; case, spaces, hyphens and underscores may differ.
    """
    numbers: dict[str, int] = {}
    for number, label in enumerate(labels):
        for text in (label.id, label.name):
            numbers.setdefault(_comparable(text), number)
    unmatched = [folder for folder in folders if _comparable(folder) not in numbers]
    matched = {numbers[_comparable(folder)]: folder for folder in folders if folder not in unmatched}
    if unmatched or len(matched) < len(folders):
        raise LabelsUnmatched(photos, unmatched or folders, [label.name for label in labels])
    return [
        replace(label, id=matched[number]) if number in matched else label
        for number, label in enumerate(labels)
    ]


def _comparable(text: str) -> str:
    return "".join(character for character in text.casefold() if character not in " -_")
