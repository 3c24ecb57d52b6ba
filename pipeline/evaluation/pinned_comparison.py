"""Compares a bundle with the pinned version on the same test images."""

from pipeline.environment import Environment
from pipeline.errors import PipelineError
from pipeline.evaluation.batch_prediction import Predictions, predict_folder
from pipeline.evaluation.gate import PinnedComparison
from pipeline.layout import Layout
from serving.artifact.pin import Pin
from serving.errors import PinMissing, ServingError
from serving.model.predictor import Predictor


def compare_with_pinned(
    layout: Layout, predictor: Predictor, predictions: Predictions
) -> tuple[PinnedComparison | None, str]:
    """Runs the pinned version on the test images; returns the comparison, if any, and a line about it."""
    try:
        pin = Pin.read(layout.pin)
        if pin.digest == predictor.bundle.digest:
            return None, "this is the pinned version"
        # Imported here because MLflow takes a second to import, and most runs need no comparison.
        from pipeline.registry.mlflow_files import downloaded_bundle
        from pipeline.registry.mlflow_registry import Registry

        registry = Registry.connect(Environment.read())
        with downloaded_bundle(registry, registry.get_by_digest(pin.name, pin.digest)) as bundle:
            # Not strict: the pinned version may lack a class that was added since.
            pinned = predict_folder(Predictor.open(bundle.path), layout.test, strict=False)
    except PinMissing:
        return None, "nothing is pinned to compare with"
    except (PipelineError, ServingError) as error:
        # A registry that is down or lacks the version must not prevent the evaluation.
        return None, f"NOT compared with the pinned version: {error}"
    lost = int((pinned.correct & ~predictions.correct).sum())
    gained = int((predictions.correct & ~pinned.correct).sum())
    comparison = PinnedComparison(pin.digest, len(predictions.files), lost, gained)
    return comparison, f"against the pinned {pin.digest[:12]}: {lost} images lost, {gained} gained"
