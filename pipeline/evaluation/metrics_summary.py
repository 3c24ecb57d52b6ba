"""The metrics of metrics.json that follow from predictions, and their lines on the terminal."""

from collections.abc import Iterator
from typing import Any

from pipeline.evaluation import metrics, model_card
from pipeline.evaluation.batch_prediction import Predictions
from pipeline.evaluation.confidence_section import confidence_summary
from pipeline.evaluation.gate_refusals import refusal_reasons
from pipeline.markdown import plain_text

# Digits of figures that are kept in git. 8-bit graphs give the same probabilities on all CPUs; the float32
# sums of other graphs differ in the seventh digit.
DIGITS = 5


def summarise(predictions: Predictions, names: list[str]) -> dict[str, Any]:
    """Aggregate metrics, shares between 0 and 1; `names` are the class names in the order of the outputs."""
    majority, share = metrics.majority_class(predictions.actual)
    per_class = metrics.class_metrics(predictions.predicted, predictions.actual, predictions.class_count)
    precision, recall, f1 = per_class.macro
    bins = metrics.calibration_bins(predictions.confidence, predictions.correct)
    return {
        "images": len(predictions.files),
        "classes": predictions.class_count,
        **top_k_accuracy(predictions),
        "precision_macro": round(precision, DIGITS),
        "recall_macro": round(recall, DIGITS),
        "f1_macro": round(f1, DIGITS),
        "calibration_error": round(metrics.expected_calibration_error(bins), DIGITS),
        "majority": {"class": names[majority], "share": round(share, DIGITS)},
        "chance": round(metrics.permutation_p_value(predictions.predicted, predictions.actual), DIGITS),
    }


def top_k_accuracy(predictions: Predictions) -> dict[str, Any]:
    """Top-1 and, for more than five classes, top-5 accuracy with 95 % intervals."""
    total = len(predictions.ranks)
    result: dict[str, Any] = {}
    for name, k in (("top1", 1), ("top5", 5)):
        if k > 1 and predictions.class_count <= k:
            continue
        hits = int((predictions.ranks < k).sum())
        result[name] = round(hits / total, DIGITS)
        result[f"{name}_interval"] = [round(bound, DIGITS) for bound in metrics.wilson_interval(hits, total)]
    return result


def terminal_lines(figures: dict[str, Any], never_predicted: list[str]) -> Iterator[str]:
    """The summary of metrics.json for the terminal; `never_predicted` are names of classes."""
    top5 = f", top-5 {figures['top5']:.1%}" if "top5" in figures else ""
    yield (
        f"top-1 {figures['top1']:.1%}{top5}, mean recall {figures['recall_macro']:.1%} "
        f"on {figures['images']} images; {model_card.format_baseline(figures)}"
    )
    if "confidence" in figures:
        yield confidence_summary(figures["confidence"])
    if never_predicted:
        omitted = len(never_predicted) - model_card.MAX_ROWS
        names = ", ".join(plain_text(name, 40) for name in never_predicted[: model_card.MAX_ROWS])
        yield f"never answered: {names}{f' and {omitted} more' if omitted > 0 else ''}"
    if reasons := refusal_reasons(figures["gate"]):
        yield f"the gate refuses it: {'; '.join(reasons)}"
