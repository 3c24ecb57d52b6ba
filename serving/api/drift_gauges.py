"""The gauges of drift in `/metrics`. Those that are not known are left out: a 0 would look measured."""

from collections.abc import Iterator

from serving.artifact.release import Release
from serving.drift.monitor import DriftMonitor
from serving.drift.window import AnswerWindow
from serving.workers.shared_folder import SharedFolder

SUBJECTS = {
    "class": "predicted classes",
    "confidence": "probabilities of the best class",
    "energy": "energies",
    "brightness": "mean brightness of the images",
    "size": "numbers of pixels of the files",
}


def drift_monitor(release: Release, folder: SharedFolder) -> DriftMonitor | None:
    """The monitor of a bundle; None if nothing was measured on validation images."""
    confidence = release.bundle.confidence()
    if confidence is None:
        return None
    accuracy = (release.metrics or {}).get("top1")
    window = AnswerWindow(folder, release.pin.digest)
    return DriftMonitor(confidence, window, accuracy if isinstance(accuracy, float) else None)


def drift_gauges(monitor: DriftMonitor) -> Iterator[tuple[str, str, float]]:
    """Name without prefix, text and value of each gauge."""
    summary = monitor.summary()
    yield "window_answers", "Last answers that drift is measured on, at most 1000.", summary.answers
    if monitor.test_accuracy is not None:
        yield "test_accuracy", "Accuracy on the test images, as evaluated.", monitor.test_accuracy
    if summary.estimated_accuracy is not None:
        text = "Estimated accuracy: mean calibrated probability of the best class."
        yield "estimated_accuracy", text, summary.estimated_accuracy
    if summary.unfamiliar is not None:
        yield "unfamiliar_share", "Share of images unlike the validation images.", summary.unfamiliar.share
        text = "The same, exceeded by chance once in a hundred times."
        yield "unfamiliar_share_usual", text, summary.unfamiliar.usual
    for entry in summary.distributions:
        if entry.shift is not None and entry.usual is not None:
            subject = SUBJECTS[entry.name]
            text = f"Shift of {subject} against the validation images: Jensen-Shannon divergence in bits."
            yield f"{entry.name}_shift", text, entry.shift
            text = f"Shift of {subject} that is exceeded by chance once in a hundred times."
            yield f"{entry.name}_shift_usual", text, entry.usual
