"""May this model be registered? Floors from params, little lost to 8 bits, no loss against what is pinned.

Shares alone do not tell whether a model has learned anything: of 200 cats and 10 dogs always answering "cat"
is right on 95 %. So top-1 is also compared with that, and there is a floor for recall, in which all classes
count alike.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.metrics import loss_probability
from pipeline.evaluation.quantisation_loss import Loss
from pipeline.params import Evaluate


@dataclass(frozen=True)
class Check:
    """One condition. The reason of one that is met holds no figure that varies between runs or machines."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Candidate against pinned version on the same images: how many only one of them had right."""

    pinned: str
    images: int
    lost: int
    gained: int


def floors(metrics: dict[str, Any], latency_ms: float, settings: Evaluate) -> list[Check]:
    """Compares what was measured with what params demand."""
    agreement = min(metrics["agreement"].values())
    fast = latency_ms <= settings.max_latency_ms
    within = f"at most {settings.max_latency_ms:g} ms per image"
    # The best five of five classes are always right, so there it is not measured.
    top5 = [_floor("top5", metrics["top5"], settings.min_top5)] if "top5" in metrics else []
    return [
        _floor("top1", metrics["top1"], settings.min_top1),
        *top5,
        _floor("recall", metrics["recall_macro"], settings.min_recall),
        _over_majority(metrics, settings),
        _floor("agreement", agreement, settings.min_agreement),
        Check("latency", fast, within if fast else f"{latency_ms:.1f} ms per image, not {within}"),
    ]


def _over_majority(metrics: dict[str, Any], settings: Evaluate) -> Check:
    """Refuses what is hardly better than always answering the commonest class, or may be so by chance."""
    share, top1, least = metrics["majority"]["share"], metrics["top1"], settings.min_over_majority
    if least == 0:
        return Check("majority", True, "not asked for: evaluate.min_over_majority is 0")
    floor = share + least * (1 - share)
    always = f"always answering the commonest class is right on {share:.4f}"
    if top1 < floor or share == 1:
        mend = (
            "evaluate.min_over_majority: 0 leaves it to evaluate.min_recall, in which all classes count alike"
        )
        return Check("majority", False, f"top-1 {top1:.4f} is below {floor:.4f}: {always}; {mend}")
    # More than no mistake cannot be asked for, however few images there are to make one with.
    if top1 < 1 and metrics["chance"] >= settings.significance:
        found = f"answers without looking are right as often with a probability of {metrics['chance']:.3f}"
        return Check("majority", False, f"{found}, not below {settings.significance:g}; test more images")
    return Check("majority", True, f"{top1:.4f} >= {floor:.4f}: {always}")


def quantisation(loss: Loss, settings: Evaluate) -> Check:
    """Refuses 8 bits that lose more of top-1 than params allow, on the same images as float32.

    What was counted decides, not the interval: that only shows how much so many images can tell.
    """
    passed = loss.top1 <= settings.max_quantisation_loss
    low, high = (100 * bound for bound in loss.interval)
    found = (
        f"{100 * loss.top1:.2f} points of top-1 lost to 8 bits (95 % interval {low:.2f} to {high:.2f}; "
        f"{loss.lost} images lost, {loss.gained} gained)"
    )
    bound = f"{100 * settings.max_quantisation_loss:g}"
    mend = "; export.precision: float32 loses none, and more images to calibrate with or to test may help"
    return Check("quantisation", passed, f"{found} <= {bound}" if passed else f"{found}, not {bound}{mend}")


def regression(comparison: Comparison | None, settings: Evaluate) -> Check:
    """Refuses a significant loss. `None`: this is what is pinned, or there is nothing to compare with."""
    met = Check(
        "regression",
        True,
        f"no loss was found against what is pinned (at a level of {settings.significance:g})",
    )
    if comparison is None:
        return met
    chance = loss_probability(comparison.lost, comparison.gained)
    if comparison.lost <= comparison.gained or chance >= settings.significance:
        return met
    return Check(
        "regression",
        False,
        f"of {comparison.images} images {comparison.lost} were right with the pinned "
        f"{comparison.pinned[:12]} and are wrong now, {comparison.gained} the other way round "
        f"(p = {chance:.2g})",
    )


def verdict(checks: list[Check]) -> dict[str, Any]:
    """The gate as it stands in metrics.json."""
    return {
        "passed": all(check.passed for check in checks),
        "checks": {check.name: {"passed": check.passed, "reason": check.reason} for check in checks},
    }


def _floor(name: str, found: float, least: float) -> Check:
    passed = found >= least
    return Check(name, passed, f"{found:.4f} {'>=' if passed else 'is below'} {least:g}")
