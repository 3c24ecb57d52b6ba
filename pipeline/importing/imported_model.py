"""The build method `import`: a model file becomes the served graph, and is compared with the original.

Nothing is trained. All labelled photos are therefore held out, and are also used to compare the declared way
to prepare pixels with others.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.data.split import SPLITS
from pipeline.environment import Environment
from pipeline.errors import DataRefused, DeclarationImpossible, UserFileMissing
from pipeline.files import read_json, sha256_of, write
from pipeline.importing import keras_form
from pipeline.importing.alternatives import compare_alternatives
from pipeline.importing.conversion_check import check_conversion
from pipeline.importing.declaration import Declaration
from pipeline.importing.generated_images import generate_images
from pipeline.importing.labels import IMAGENET_LABELS, load_labels, match_folders
from pipeline.importing.trials import LabelledFile, Network
from pipeline.layout import Layout
from pipeline.model_files.labels import check_count
from pipeline.model_files.model_file import Description
from pipeline.model_files.opening import open_model_file
from pipeline.network import keras_archive
from pipeline.network.backend import keras
from pipeline.onnx.calibration_images import interleave_classes
from pipeline.onnx.served_graph import assemble
from pipeline.params import Import
from serving.artifact.bundle import Label
from serving.artifact.files import to_json
from serving.model.decoder import MAX_PIXELS

# Images on which the served graph is compared with the original.
CHECKED_IMAGES = 64


def build_imported(settings: Import, layout: Layout, environment: Environment, built: Path) -> list[Label]:
    """Writes `model.onnx`, `import.json` and, if Keras can load it without code, `model.keras` to `built`.

    Without any photo it also writes `generated/`, images that stand for photos as golden images. Returns the
    labels. Their ids are the names of the class folders, where there are any.
    """
    # Layers without a name of their own are numbered; the numbers are part of the digest.
    keras.utils.clear_session()
    file = open_model_file(
        _user_file(layout, settings.model, "build.model"),
        _user_file(layout, settings.code, "build.code") if settings.code else None,
        settings.architecture,
    )
    declaration, description = Declaration.from_params(settings), file.description
    check_declaration(settings, description)
    labels = _labels(settings, layout, environment, description)
    network, scaling = file.to_onnx(*settings.size), declaration.scaling(description)
    graph = assemble(network, scaling, settings.channels == "BGR", settings.head)
    write(built / layout.imported_graph.name, graph)
    keras_network = file.to_keras(*settings.size)
    if keras_network is not None:
        model = keras_form.assemble(keras_network, scaling, settings.channels == "BGR", settings.head)
        write(built / layout.keras_model.name, keras_archive.to_bytes(model))

    photos = _photos(layout)
    refuse_large_photos(photos, declaration)
    images = [path.read_bytes() for path in photos[:CHECKED_IMAGES]] or list(generate_images())
    for number, image in enumerate(images if not photos else ()):
        write(built / layout.generated_images.name / f"{number}.png", image)
    check = check_conversion(file, graph, declaration, settings.head, images, generated=not photos)
    labelled = _labelled_photos(layout, labels)
    alternatives = None
    if labelled:
        opened = Network.open(network, description, settings.head)
        names = [label.name for label in labels]
        alternatives = compare_alternatives(opened, declaration, labelled, names).to_json()
    source = {
        "file": settings.model,
        "sha256": _sha256(layout.user_files / settings.model),
        "format": description.format,
        "framework": description.framework,
        "notes": list(description.notes),
        "scaling_in_file": None if description.scaling is None else asdict(description.scaling),
        "resize_in_file": None if description.resize is None else asdict(description.resize),
    }
    write(
        built / layout.import_record.name,
        to_json({"source": source, "conversion": asdict(check), "alternatives": alternatives}),
    )
    for note in description.notes:
        print(f"build {layout.model}: {note}")
    return labels


def check_declaration(settings: Import, description: Description) -> None:
    """Raises `DeclarationImpossible` where params.yaml contradicts the file."""
    found = (description.height, description.width)
    fixed = description.resize is None
    if fixed and any(side not in (None, wanted) for side, wanted in zip(found, settings.size, strict=True)):
        raise DeclarationImpossible(
            description.file,
            f"size: {settings.size}",
            f"the network takes {found[0] or 'any'} x {found[1] or 'any'} pixels",
            "Set build.size to that, height first.",
        )
    channels = 1 if settings.channels == "grey" else 3
    if channels != description.channels:
        raise DeclarationImpossible(
            description.file,
            f"channels: {settings.channels}",
            f"the network takes {description.channels} channel{'s' * (description.channels > 1)}",
            f"Set build.channels to {'grey' if description.channels == 1 else 'RGB or BGR'}.",
        )
    one_column = settings.head in ("sigmoid", "logit")
    if one_column != (description.outputs == 1) or description.head not in (None, settings.head):
        advice = (
            f"Set build.head to {description.head}."
            if description.head
            else ("sigmoid and logit are for one column, softmax and logits for one column per class.")
        )
        raise DeclarationImpossible(
            description.file,
            f"head: {settings.head}",
            f"the network ends with {description.head or 'no known activation'} "
            f"and {description.outputs} column{'s' * (description.outputs > 1)}",
            advice,
        )


def refuse_large_photos(photos: list[Path], declaration: Declaration) -> None:
    """Raises `DataRefused` for photos that the server would refuse with this preprocessing.

    `prepare` accepts large JPEG files, which are decoded at a part of their size; without antialiasing they
    are not.
    """
    if declaration.preprocessing.averages:
        return
    refused = []
    for path in photos:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                reason = (
                    f"{image.width} x {image.height} pixels; without build.antialias the server accepts "
                    f"{MAX_PIXELS:,} in all"
                )
                refused.append((str(path), reason))
    if refused:
        raise DataRefused(photos[0].parent.parent, refused)


def _labels(
    settings: Import, layout: Layout, environment: Environment, description: Description
) -> list[Label]:
    """The labels in the order of the outputs; an id is the name of the class folder if there is one."""
    path = layout.user_files / settings.labels
    if settings.labels != IMAGENET_LABELS:
        path = _user_file(layout, settings.labels, "build.labels")
    labels = load_labels(path, environment)
    check_count(labels, description.outputs, settings.head, path)
    return match_folders(labels, sorted(read_json(layout.data_report)["classes"]), layout.raw)


def _user_file(layout: Layout, name: str, key: str) -> Path:
    path = layout.user_files / name
    if not path.exists():
        found = sorted(entry.name for entry in layout.user_files.glob("*"))
        raise UserFileMissing(layout.raw, name, key, found)
    return path


def _photos(layout: Layout) -> list[Path]:
    """All prepared photos, classes in turn: test, validation, training, and those without labels."""
    found: list[Path] = []
    for folder in (*(layout.prepared / split for split in SPLITS[::-1]), layout.unlabelled):
        found += interleave_classes(path for path in folder.rglob("*") if path.is_file())
    return found


def _labelled_photos(layout: Layout, labels: list[Label]) -> list[LabelledFile]:
    """The photos in class folders, classes in turn."""
    numbers = {label.id: number for number, label in enumerate(labels)}
    return [
        LabelledFile(path, numbers[path.relative_to(layout.prepared).parts[1]])
        for path in _photos(layout)
        if not path.is_relative_to(layout.unlabelled)
    ]


def _sha256(path: Path) -> dict[str, Any] | str:
    """The SHA-256 of a file; of a folder, that of each file in it."""
    if path.is_dir():
        return {
            file.relative_to(path).as_posix(): sha256_of(file)
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    return sha256_of(path)
