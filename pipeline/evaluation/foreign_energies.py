"""Whether the energy tells the test images from images that the model should not know."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.evaluation.auroc import auroc, auroc_interval
from pipeline.evaluation.foreign_images import ForeignImage, ForeignImages
from pipeline.evaluation.metrics import DIGITS, Floats, round_interval
from serving.cpu_count import available_cores
from serving.errors import ImageError
from serving.model.decoder import decode
from serving.model.predictor import Predictor

# Unreadable files that are named.
NAMED = 5


@dataclass(frozen=True)
class ForeignEnergies:
    """The energy of each foreign image, with its group, and the files that are no images."""

    source: str
    groups: list[str | None]
    energies: Floats
    unreadable: list[str]


def predict_foreign(predictor: Predictor, foreign: ForeignImages) -> ForeignEnergies:
    """Decodes and predicts foreign images one by one, as the server does. The bundle must have an energy."""

    def predict(image: ForeignImage) -> float | None:
        try:
            pixels = decode(image.read(), predictor.preprocessing)
        except (ImageError, OSError):
            return None
        return predictor.predict_one(pixels).energy

    with ThreadPoolExecutor(max(1, round(available_cores()))) as pool:
        bar = tqdm(foreign.images, desc="foreign images", unit="image", disable=None)
        energies = list(zip(foreign.images, pool.map(predict, bar), strict=True))
    readable = [(image.group, energy) for image, energy in energies if energy is not None]
    return ForeignEnergies(
        foreign.source,
        [group for group, _ in readable],
        np.array([energy for _, energy in readable], np.float64),
        [image.name for image, energy in energies if energy is None],
    )


def familiar_metrics(
    energies: Floats, threshold: float | None, foreign: ForeignEnergies | None
) -> dict[str, Any]:
    """The part `confidence.familiar` of metrics.json, from the energies [N] of the test images.

    `threshold` is None if there were too few validation images for one; `foreign` is None without images.
    """
    found = {"threshold": threshold, "unfamiliar_share": _share_below(energies, threshold)}
    if foreign is None:
        return found
    names = sorted({group for group in foreign.groups if group is not None})
    chosen = {name: np.array([group == name for group in foreign.groups]) for name in names}
    return found | {
        "foreign": {
            "source": foreign.source,
            "unreadable": {"files": len(foreign.unreadable), "first": foreign.unreadable[:NAMED]},
            "groups": {
                name: _compare(energies, foreign.energies[inside], threshold)
                for name, inside in chosen.items()
            },
            "all": _compare(energies, foreign.energies, threshold) if len(foreign.energies) else None,
        }
    }


def _compare(familiar: Floats, foreign: Floats, threshold: float | None) -> dict[str, Any]:
    area = auroc(familiar, foreign)
    interval = auroc_interval(area, len(familiar), len(foreign))
    return {
        "images": len(foreign),
        "auroc": round(area, DIGITS),
        "interval": round_interval(interval),
        "unfamiliar_share": _share_below(foreign, threshold),
    }


def _share_below(energies: Floats, threshold: float | None) -> float | None:
    """The share of images that the server calls unfamiliar."""
    return None if threshold is None else round(float((energies < threshold).mean()), DIGITS)
