"""Releases of the tiny bundle of `bundles.py`, which has a record of 99 validation images."""

from pathlib import Path
from typing import Any

from serving.artifact.bundle import Bundle
from serving.artifact.confidence import Confidence
from serving.artifact.files import to_json
from serving.artifact.manifest import CONFIDENCE
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from tests.serving.bundles import CONFIDENCE_DOCUMENT, write_bundle

MEASURED = Confidence.from_json(CONFIDENCE_DOCUMENT, 3)


def measured_release(
    folder: Path,
    metrics: dict[str, Any] | None = None,
    document: Any = CONFIDENCE_DOCUMENT,  # noqa: ANN401  (JSON)
) -> Release:
    """The release of a bundle with this `confidence.json`, which is written to a folder."""
    bundle = Bundle.open(write_bundle(folder, extra={CONFIDENCE: to_json(document)}))
    return Release(bundle, Pin("colours", 3, bundle.digest), None, metrics)
