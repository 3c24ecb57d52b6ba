"""A loaded version of a model: all that a response of it comes from, in one object that never changes."""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from serving.api.drift_gauges import drift_monitor
from serving.api.request_statistics import RequestStatistics
from serving.artifact.bundle import Label
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.drift.monitor import DriftMonitor
from serving.explanation.explainer import Explainer
from serving.model.predictor import Predictor
from serving.reliability import Reliability
from serving.workers.shared_folder import SharedFolder


@dataclass(frozen=True)
class GoldenCheck:
    """How many golden images were classified when the model was loaded, and how far they were off.

    `difference` is the largest one from a recorded probability, `tolerance` the largest accepted one.
    `seconds` is the time that decoding and classifying the first image takes.
    """

    images: int
    tolerance: float
    difference: float
    seconds: float


# Compared by identity.
@dataclass(frozen=True, eq=False)
class ServedModel:
    """`drift` is None if the bundle has nothing to compare answers with."""

    release: Release
    predictor: Predictor
    golden: GoldenCheck
    explainer: Explainer
    reliability: Reliability
    drift: DriftMonitor | None
    image_statistics: RequestStatistics
    tensor_statistics: RequestStatistics

    @classmethod
    def load(cls, release: Release, folder: SharedFolder, abstain_below: float = 0.0) -> Self:
        """Opens a release and checks it on its golden images; raises a `ServingError` if that fails.

        Workers add up what they count of this version in `folder`.
        """
        predictor = Predictor.from_bundle(release.bundle)
        golden = release.bundle.golden_images()
        difference = predictor.check_golden()
        # After the check, which was the first use of everything.
        began = time.perf_counter()
        predictor.classify(golden[0].data)
        seconds = time.perf_counter() - began
        return cls(
            release=release,
            predictor=predictor,
            golden=GoldenCheck(len(golden), min(each.tolerance for each in golden), difference, seconds),
            explainer=Explainer(predictor),
            reliability=Reliability.of_bundle(release.bundle, abstain_below),
            drift=drift_monitor(release, folder),
            image_statistics=RequestStatistics(folder, f"{release.pin.digest}-images"),
            tensor_statistics=RequestStatistics(folder, f"{release.pin.digest}-tensors"),
        )

    def with_pin(self, pin: Pin) -> "ServedModel":
        """The same bundle under another version number."""
        return replace(self, release=replace(self.release, pin=pin))

    @property
    def pin(self) -> Pin:
        """Name, version and digest."""
        return self.release.pin

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes in the order of the outputs."""
        return self.predictor.labels

    @cached_property
    def label_names(self) -> list[str]:
        """Their names."""
        return [label.name for label in self.labels]
