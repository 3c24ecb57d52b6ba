"""A candidate for registration, built without training: a tiny real bundle with evaluation reports."""

from pathlib import Path

from pipeline.layout import Layout
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from tests.serving.bundles import write_bundle

LAYOUT = Layout("tiny")


def write_candidate(steepness: float = 4.0, passed: bool = True) -> Bundle:
    """Writes a bundle and its reports into the project in the current directory."""
    bundle = Bundle.open(write_bundle(LAYOUT.bundle, "tiny", steepness))
    reason = "0.9000 >= 0.5" if passed else "0.9000 is below 0.95"
    gate = {"passed": passed, "checks": {"top1": {"passed": passed, "reason": reason}}}
    write_json(
        LAYOUT.metrics, {"digest": bundle.digest, "top1": 0.9, "agreement": {"eager": 1.0}, "gate": gate}
    )
    write_json(LAYOUT.data_report, {"digest": "d" * 64})
    write_json(LAYOUT.machine, {"digest": bundle.digest, "latency": {"total_ms_p50": 1.5}})
    return bundle


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(document))
