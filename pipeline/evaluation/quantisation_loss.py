"""What 8 bits cost: the served graph and the float32 one were asked about the same images."""

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.batch_prediction import Answers
from pipeline.evaluation.metrics import paired_interval


@dataclass(frozen=True)
class Loss:
    """Of so many images, `lost` were right in float32 alone, `gained` in 8 bits alone."""

    images: int
    lost: int
    gained: int

    @classmethod
    def between(cls, floats: Answers, served: Answers) -> "Loss":
        """Counts the images; both answered the same ones, in the same order."""
        lost, gained = (floats.right & ~served.right).sum(), (served.right & ~floats.right).sum()
        return cls(len(served.files), int(lost), int(gained))

    @property
    def top1(self) -> float:
        """The share of top-1 that was lost; negative if more was gained."""
        return (self.lost - self.gained) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of that."""
        return paired_interval(self.lost, self.gained, self.images)

    def figures(self, digits: int) -> dict[str, Any]:
        """The loss as it stands in metrics.json."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "top1_lost": round(self.top1, digits),
            "interval": [round(bound, digits) for bound in self.interval],
        }
