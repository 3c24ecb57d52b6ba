"""The gate: decides whether a model may be registered.

It compares metrics with the floors in params.yaml, int8 with float32, and the candidate with the pinned
version. Top-1 alone does not show whether a model has learned anything: with 200 cats and 10 dogs, always
predicting "cat" is correct for 95 %. Top-1 is therefore also compared with that baseline, and there is a
floor for macro recall, in which all classes count alike.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.metrics import one_sided_mcnemar_p_value
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.params import Evaluate


@dataclass(frozen=True)
class GateCheck:
    """The result of one check. If it passed, `reason` has no figure that varies between runs or machines."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class PinnedComparison:
    """Candidate and pinned version on the same images: how many only one of them predicted correctly."""

    pinned: str
    images: int
    lost: int
    gained: int


def decide(checks: list[GateCheck]) -> dict[str, Any]:
    """The gate's decision, as stored in metrics.json: it passes if all checks passed."""
    return {
        "passed": all(check.passed for check in checks),
        "checks": {check.name: {"passed": check.passed, "reason": check.reason} for check in checks},
    }


def check_floors(metrics: dict[str, Any], latency_ms: float, settings: Evaluate) -> list[GateCheck]:
    """Compares metrics and latency with the limits in params.yaml."""
    agreement = min(metrics["agreement"].values())
    fast = latency_ms <= settings.max_latency_ms
    limit = f"at most {settings.max_latency_ms:g} ms per image"
    # Absent for five classes or fewer, where top-5 is always 1.
    top5 = [_check_floor("top5", metrics["top5"], settings.min_top5)] if "top5" in metrics else []
    return [
        _check_floor("top1", metrics["top1"], settings.min_top1),
        *top5,
        _check_floor("recall", metrics["recall_macro"], settings.min_recall),
        _check_majority_baseline(metrics, settings),
        _check_floor("agreement", agreement, settings.min_agreement),
        GateCheck("latency", fast, limit if fast else f"{latency_ms:.1f} ms per image, not {limit}"),
    ]


def _check_floor(name: str, value: float, floor: float) -> GateCheck:
    passed = value >= floor
    return GateCheck(name, passed, f"{value:.4f} {'>=' if passed else 'is below'} {floor:g}")


def _check_majority_baseline(metrics: dict[str, Any], settings: Evaluate) -> GateCheck:
    """Refuses a model that is hardly better than always predicting the commonest class, or only by chance."""
    share, top1, margin = metrics["majority"]["share"], metrics["top1"], settings.min_over_majority
    if margin == 0:
        return GateCheck("majority", True, "not asked for: evaluate.min_over_majority is 0")
    floor = share + margin * (1 - share)
    baseline = f"always answering the commonest class is right on {share:.4f}"
    if top1 < floor or share == 1:
        advice = (
            "evaluate.min_over_majority: 0 leaves it to evaluate.min_recall, in which all classes count alike"
        )
        return GateCheck("majority", False, f"top-1 {top1:.4f} is below {floor:.4f}: {baseline}; {advice}")
    # A model without errors passes: with few images it cannot reach a lower p-value.
    if top1 < 1 and metrics["chance"] >= settings.significance:
        found = (
            f"predictions in random order are right as often with a probability of {metrics['chance']:.3f}"
        )
        return GateCheck("majority", False, f"{found}, not below {settings.significance:g}; test more images")
    return GateCheck("majority", True, f"{top1:.4f} >= {floor:.4f}: {baseline}")


def check_quantisation(loss: QuantisationLoss, settings: Evaluate) -> GateCheck:
    """Refuses an int8 model that loses more top-1 than allowed, on the same images as float32.

    The measured loss decides; the interval only shows how precise it is for this number of images.
    """
    passed = loss.top1 <= settings.max_quantisation_loss
    low, high = (100 * bound for bound in loss.interval)
    found = (
        f"{100 * loss.top1:.2f} points of top-1 lost to 8 bits (95 % interval {low:.2f} to {high:.2f}; "
        f"{loss.lost} images lost, {loss.gained} gained)"
    )
    limit = f"{100 * settings.max_quantisation_loss:g}"
    advice = "; export.precision: float32 loses none, and more images to calibrate with or to test may help"
    reason = f"{found} <= {limit}" if passed else f"{found}, not {limit}{advice}"
    return GateCheck("quantisation", passed, reason)


def check_regression(comparison: PinnedComparison | None, settings: Evaluate) -> GateCheck:
    """Refuses a significant loss against the pinned version.

    `None`: the candidate is the pinned version, or there is none to compare with.
    """
    passed = GateCheck(
        "regression",
        True,
        f"no loss was found against what is pinned (at a level of {settings.significance:g})",
    )
    if comparison is None:
        return passed
    p_value = one_sided_mcnemar_p_value(comparison.lost, comparison.gained)
    if comparison.lost <= comparison.gained or p_value >= settings.significance:
        return passed
    return GateCheck(
        "regression",
        False,
        f"of {comparison.images} images {comparison.lost} were right with the pinned "
        f"{comparison.pinned[:12]} and are wrong now, {comparison.gained} the other way round "
        f"(p = {p_value:.2g})",
    )
