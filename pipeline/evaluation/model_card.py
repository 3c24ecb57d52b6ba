"""The model card, `reports/<model>/README.md`, which readers of the repository see."""

from typing import Any

from pipeline.markdown import code, code_list, plain_text

# Rows of each list; the complete lists are in classes.csv and confusions.csv.
MAX_ROWS = 5
SHARES = (("top-1", "top1"), ("top-5", "top5"))
NUMBERS = (
    ("precision, mean of classes", "precision_macro"),
    ("recall, mean of classes", "recall_macro"),
    ("F1, mean of classes", "f1_macro"),
    ("expected calibration error", "calibration_error"),
)


def render_card(
    model: str,
    metrics: dict[str, Any],
    data: dict[str, Any],
    classes: list[dict[str, Any]],
    confusions: list[dict[str, Any]],
) -> str:
    """Renders the card as Markdown, from metrics.json, data.json and the rows of both CSV files."""
    lines = [
        f"# {model}",
        "",
        "![Right answers above, the surest wrong ones below](examples.png)",
        "",
        *_metrics_table(metrics),
        "",
        *_gate_lines(metrics["gate"]),
        "",
        f"Digest: `{metrics['digest']}`",
        "",
        "## Where it is weakest",
        "",
        *_weakest_classes(classes, confusions),
        "",
        "## Data",
        "",
        _data_line(data),
        "",
        f"Data digest: `{data['digest']}`",
        "",
        f"Built again by `make run MODEL={model}`. Written by the stage `evaluate`; edits are overwritten.",
    ]
    return "\n".join(lines) + "\n"


def format_baseline(metrics: dict[str, Any]) -> str:
    """The top-1 of always predicting the commonest class, as text for a terminal."""
    majority = metrics["majority"]
    return f"always answering {plain_text(majority['class'], 40)!r} has top-1 {majority['share']:.1%}"


def never_predicted(classes: list[dict[str, Any]], confusions: list[dict[str, Any]]) -> list[str]:
    """The classes that have images and are never predicted."""
    wrongly_predicted = {row["predicted"] for row in confusions}
    without_hits = (row["name"] for row in classes if row["images"] and not row["recall"])
    return [name for name in without_hits if name not in wrongly_predicted]


def _metrics_table(metrics: dict[str, Any]) -> list[str]:
    majority = metrics["majority"]
    return [
        f"| on {metrics['images']} held-out images | value | 95 % interval |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {_format_percent(metrics[key])} | {_format_interval(metrics[f'{key}_interval'])} |"
            for name, key in SHARES
            if key in metrics
        ),
        f"| top-1 of always answering {code(majority['class'])}, the commonest class "
        f"| {_format_percent(majority['share'])} | |",
        *(f"| {name} | {metrics[key]:.4f} | |" for name, key in NUMBERS),
        *_int8_rows(metrics),
    ]


def _int8_rows(metrics: dict[str, Any]) -> list[str]:
    """The rows of an int8 model: top-1 of its float32 graph, and the loss."""
    if metrics["precision"] != "int8":
        return []
    float32, loss = metrics["float32"], metrics["quantisation"]
    top1, interval = _format_percent(float32["top1"]), _format_interval(float32["top1_interval"])
    low, high = (100 * bound for bound in loss["interval"])
    counts, points = f"{loss['lost']} images lost, {loss['gained']} gained", 100 * loss["top1_lost"]
    return [
        f"| top-1 in float32 | {top1} | {interval} |",
        f"| top-1 lost to 8 bits: {counts} | {points:.1f} points | {low:.1f} to {high:.1f} |",
    ]


def _gate_lines(gate: dict[str, Any]) -> list[str]:
    return [
        f"**Gate: {'passed' if gate['passed'] else 'refused'}.**",
        "",
        *(f"- {name}: {check['reason']}" for name, check in sorted(gate["checks"].items())),
    ]


def _weakest_classes(classes: list[dict[str, Any]], confusions: list[dict[str, Any]]) -> list[str]:
    with_images = [row for row in classes if row["images"]]
    weakest = sorted(with_images, key=lambda row: (row["recall"], row["precision"], row["name"]))
    never = never_predicted(classes, confusions)
    return [
        "| class | images | recall | precision | most often taken for |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {code(row['name'])} | {row['images']} "
            f"| {_format_percent(row['recall'])} | {_format_percent(row['precision'])} "
            f"| {_commonest_confusion(row['name'], confusions)} |"
            for row in weakest[:MAX_ROWS]
        ),
        "",
        *([f"Never answered: {code_list(never, MAX_ROWS)}.", ""] if never else []),
        *(
            f"- {code(row['actual'])} taken for {code(row['predicted'])}: {row['images']} times"
            for row in confusions[:MAX_ROWS]
        ),
    ]


def _commonest_confusion(name: str, confusions: list[dict[str, Any]]) -> str:
    """The class most often predicted instead of this one; "" if there is none."""
    found = (row for row in confusions if row["actual"] == name)
    return next((f"{code(row['predicted'])}, {row['images']} times" for row in found), "")


def _data_line(data: dict[str, Any]) -> str:
    images, similar = data["images"], data["look_alikes_across_splits"]["pairs"]
    return (
        f"{images['train']} images to train, {images['valid']} to validate, {images['test']} to test; "
        f"{len(data['repeated'])} repeated ones were left out, {similar} pairs look alike across splits."
    )


def _format_percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _format_interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"
