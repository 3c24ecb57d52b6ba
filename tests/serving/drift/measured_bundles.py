"""The tiny bundle of `bundles.py` with a record of 99 validation images: one third of each colour."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from serving.artifact.bundle import Bundle
from serving.artifact.confidence import Confidence
from serving.artifact.files import to_json
from serving.artifact.manifest import CONFIDENCE, GRAPH
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from tests.serving.bundles import onnx_graph, write_bundle, write_files, write_manifest

IMAGES = 99
SHARES = [number / 20 for number in range(21)]


def in_one_bin(edges: list[float], value: float) -> dict[str, Any]:
    """A histogram that has all images in the bin of one value."""
    counts = [IMAGES if low <= value < high else 0 for low, high in pairwise(edges)]
    return {"edges": edges, "counts": counts, "images": IMAGES}


# What the images of `one_colour_png(COLOURS[...])` give: 12 x 10 pixels, of which one channel is full.
DOCUMENT: dict[str, Any] = {
    "temperature": {"value": 1.0, "images": IMAGES},
    "label_sets": [],
    "energy": {"threshold": 3.0, "share": 0.0, "images": IMAGES},
    "reference": {
        "classes": [33, 33, 33],
        "confidence": in_one_bin(SHARES, 0.96),
        "energy": in_one_bin([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 4.04),
        "brightness": in_one_bin(SHARES, 1 / 3),
        "size": in_one_bin([8.0, 11.3, 16.0, 22.6, 32.0], 10.95),
        "images": IMAGES,
    },
}
MEASURED = Confidence.from_json(DOCUMENT, 3)


def write_measured_bundle(folder: Path, document: Any = DOCUMENT) -> Path:  # noqa: ANN401  (JSON)
    """Writes the bundle with this `confidence.json`."""
    write_bundle(folder)
    write_files(folder, {GRAPH: onnx_graph(energy=True), CONFIDENCE: to_json(document)})
    return write_manifest(folder, energy=True)


def measured_release(
    folder: Path,
    metrics: dict[str, Any] | None = None,
    document: Any = DOCUMENT,  # noqa: ANN401  (JSON)
) -> Release:
    """The release of a bundle that is written to a folder."""
    bundle = Bundle.open(write_measured_bundle(folder, document))
    return Release(bundle, Pin("colours", 3, bundle.digest), None, metrics)


def publish_measured(folder: Path) -> Path:
    """Writes the bundle and its pin, as `make run` leaves them in a workspace."""
    bundle = Bundle.open(write_measured_bundle(folder / "models/colours/bundle"))
    (folder / "pins").mkdir()
    (folder / "pins/colours.json").write_bytes(Pin("colours", 3, bundle.digest).to_bytes())
    return folder
