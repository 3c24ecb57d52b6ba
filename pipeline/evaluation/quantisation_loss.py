"""The accuracy that int8 quantisation costs: the served graph and the float32 graph on the same images."""

from dataclasses import dataclass
from typing import Any, Self

from pipeline.evaluation.batch_prediction import Predictions
from pipeline.evaluation.metrics import paired_difference_interval


@dataclass(frozen=True)
class QuantisationLoss:
    """Of `images`, `lost` are correct in float32 only, `gained` in int8 only."""

    images: int
    lost: int
    gained: int

    @classmethod
    def between(cls, float32: Predictions, int8: Predictions) -> Self:
        """Compares the predictions for the same images, in the same order."""
        lost, gained = (float32.correct & ~int8.correct).sum(), (int8.correct & ~float32.correct).sum()
        return cls(len(int8.files), int(lost), int(gained))

    @property
    def top1(self) -> float:
        """The loss of top-1, as a share; negative for a gain."""
        return (self.lost - self.gained) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `top1`."""
        return paired_difference_interval(self.lost, self.gained, self.images)

    def to_metrics(self, digits: int) -> dict[str, Any]:
        """The loss as stored in metrics.json."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "top1_lost": round(self.top1, digits),
            "interval": [round(bound, digits) for bound in self.interval],
        }
