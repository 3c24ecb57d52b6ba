"""The gate: decides whether a model may be registered.

It compares metrics with the floors in params.yaml, int8 with float32, and the candidate with the pinned
version. Top-1 alone does not show whether a model has learned anything: with 200 cats and 10 dogs, always
predicting "cat" is correct for 95 %. Top-1 is therefore also compared with that baseline, and there is a
floor for macro recall, in which all classes count alike.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.confidence.label_sets import conforming_images
from pipeline.evaluation.metrics import one_sided_mcnemar_p_value
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.params import Evaluate

# The params of an import that say how pixels are prepared.
DECLARED_KEYS = ("size", "resize", "crop", "filter", "antialias", "channels", "scale")


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
    # Absent for five classes or fewer, where top-5 is always 1.
    top5 = [_check_floor("top5", metrics["top5"], settings.min_top5)] if "top5" in metrics else []
    return [
        _check_floor("top1", metrics["top1"], settings.min_top1),
        *top5,
        _check_floor("recall", metrics["recall_macro"], settings.min_recall),
        _check_majority_baseline(metrics, settings),
        *check_without_labels(metrics["agreement"], latency_ms, settings),
    ]


def check_without_labels(
    agreement: dict[str, float], latency_ms: float, settings: Evaluate
) -> list[GateCheck]:
    """Compares what needs no labelled images, agreement and latency, with the limits in params.yaml."""
    fast = latency_ms <= settings.max_latency_ms
    limit = f"at most {settings.max_latency_ms:g} ms per image"
    return [
        _check_floor("agreement", min(agreement.values()), settings.min_agreement),
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


def check_preprocessing(alternatives: dict[str, Any], settings: Evaluate) -> list[GateCheck]:
    """Refuses a declared way to prepare pixels, or order of labels, that another one clearly beats.

    `alternatives` is that of import.json. The significance level is divided by the number of other ways
    (Bonferroni), because one of many is better by chance.
    """
    rows = alternatives["trials"]
    declared = next(row for row in rows if row["declared"])
    others = [row for row in rows if not row["declared"]]
    level = settings.significance / max(1, len(others))
    better = [row for row in others if row["p_value"] < level]
    found = f"of {len(others)} other ways to prepare pixels none is clearly better"
    if better:
        best = max(better, key=lambda row: row["top1"])
        changes = {key: best[key] for key in DECLARED_KEYS if best[key] != declared[key]}
        advice = ", ".join(f"build.{key}: {value}" for key, value in changes.items())
        found = (
            f"{advice} is clearly better: of {best['photos']} photos it has {best['lost']} right that the "
            f"declared way has wrong, and {best['gained']} the other way round (p = {best['p_value']:.2g})"
        )
    checks = [GateCheck("preprocessing", not better, found)]
    if order := alternatives["label_order"]:
        reason = (
            f"the labels are not in the order of the outputs: of {order['photos']} photos {order['given']} "
            f"are right in this order and {order['found']} in another ({order['name']}); "
            "`python -m pipeline inspect` writes it"
        )
        checks.append(GateCheck("labels", False, reason))
    return checks


def check_coverage(metrics: dict[str, Any], settings: Evaluate) -> list[GateCheck]:
    """Refuses label sets whose threshold the right class passes significantly less often than they promise.

    The sets themselves always have the best class too, so they would hide it. The level of significance is
    divided by the number of sets (Bonferroni).
    """
    if "confidence" not in metrics:
        return []
    fitted, tested, reasons = metrics["confidence"]["images"], metrics["images"], []
    sets = metrics["confidence"]["label_sets"]
    for entry in sets:
        conforming = round(entry["above_threshold"] * tested)
        chance = float(conforming_images(entry["level"], fitted, tested).cdf(conforming))
        if chance < settings.significance / len(sets):
            reasons.append(
                f"the right class of {entry['above_threshold']:.1%} of the test images is above the "
                f"threshold for sets of {entry['level']:.0%} (p = {chance:.2g}), so these are of another "
                "kind than the validation images"
            )
    promised = ", ".join(f"{entry['level']:.0%}" for entry in sets) or "none"
    return [
        GateCheck(
            "coverage", not reasons, "; ".join(reasons) or f"label sets keep what they promise: {promised}"
        )
    ]


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
