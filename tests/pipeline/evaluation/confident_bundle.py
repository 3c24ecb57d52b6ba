"""A bundle with `serving/confidence.json`; its model predicts the dominant colour."""

from pathlib import Path

from serving.artifact.confidence import Confidence, Energy, LabelSet, Reference, Temperature
from serving.artifact.files import to_json
from serving.artifact.manifest import CONFIDENCE, GRAPH
from tests.serving.bundles import bundle_files, onnx_graph, write_files, write_manifest

VALIDATION_IMAGES = 200
# A pure colour has logits of 4, 0 and 0, and so an energy of 4.04; black has 1.10.
THRESHOLD = 3.0


def make_confidence(
    temperature: float | None = 1.0,
    quantiles: tuple[float | None, float | None] = (0.3, 0.9),
    threshold: float | None = THRESHOLD,
) -> Confidence:
    """Confidence that was measured on 200 images; None is what was not measured."""
    images = VALIDATION_IMAGES
    return Confidence(
        None if temperature is None else Temperature(temperature, images),
        tuple(LabelSet(level, value, images) for level, value in zip((0.9, 0.95), quantiles, strict=True)),
        None if threshold is None else Energy(threshold, 0.05, None, images),
        Reference(None, None, None, None, None, images),
    )


def write_confident_bundle(folder: Path, confidence: Confidence, energy: bool = True) -> Path:
    """Writes the bundle; `energy` is whether the graph has that output."""
    files = bundle_files() | {GRAPH: onnx_graph(energy=energy), CONFIDENCE: to_json(confidence.to_json())}
    write_files(folder, files)
    return write_manifest(folder, energy=energy)
