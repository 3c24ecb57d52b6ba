"""The bundle as an MLflow `python_function`: encoded images in, the five best classes out.

MLflow finds this module in the bundle's own `code/` folder, so it works from any directory. That also means
that MLflow runs what lies there before anything can be checked; SECURITY.md says how to check it first.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.bundle import Bundle
from serving.predictor import Predictor


class ImageClassifier:
    """What `mlflow.pyfunc.load_model(...)` wraps."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, images: Any) -> list[list[dict[str, Any]]]:  # noqa: ANN401  (a pandas object)
        """Classifies encoded images; the i-th answer lists label, id and score, best first.

        `images` is what MLflow makes of a list or a DataFrame under the model's signature: a DataFrame with
        one column of bytes. A plain list of bytes does as well.
        """
        encoded: Iterable[bytes] = images.iloc[:, 0] if hasattr(images, "iloc") else images
        return [
            [asdict(score) for score in self.predictor.top(self.predictor.answer(data))] for data in encoded
        ]


def _load_pyfunc(path: str) -> ImageClassifier:
    """MLflow's entry point; `path` is the bundle's folder. Every file is checked before one is opened."""
    Bundle.open(Path(path)).verify()
    return ImageClassifier(Predictor.open(Path(path)))
