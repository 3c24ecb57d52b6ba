"""The model card, `reports/<model>/README.md`, which readers of the repository see."""

from typing import Any

from pipeline.evaluation.confidence_section import confidence_lines
from pipeline.evaluation.formatting import format_interval, format_percent
from pipeline.markdown import code, code_list, plain_text

# Rows of each list; the complete lists are in classes.csv and confusions.csv.
MAX_ROWS = 5
MAX_TRIALS = 12
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
        *(_import_lines(metrics["import"]) if "import" in metrics else []),
        *(confidence_lines(metrics["confidence"]) if "confidence" in metrics else []),
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


def render_unevaluated_card(model: str, metrics: dict[str, Any]) -> str:
    """The card of an imported model without labelled photos: nothing is said of its accuracy."""
    lines = [
        f"# {model}",
        "",
        "![What it says of images without labels](examples.png)",
        "",
        "**Not evaluated:** there are no labelled photos, so its accuracy is unknown. Photos in "
        f"`data/raw/{model}/<class>/` and `make run MODEL={model}` measure it.",
        "",
        *_gate_lines(metrics["gate"]),
        "",
        f"Digest: `{metrics['digest']}`",
        "",
        *_import_lines(metrics["import"]),
        "Written by the stage `evaluate`; edits are overwritten.",
    ]
    return "\n".join(lines) + "\n"


def _import_lines(record: dict[str, Any]) -> list[str]:
    """Of an imported model: its file, how it was compared with the original, and other preprocessings."""
    source, conversion, alternatives = record["source"], record["conversion"], record["alternatives"]
    kind = "generated images" if conversion["generated"] else "photos"
    lines = [
        "## Where it comes from",
        "",
        f"{code(source['file'])}: {source['format']}"
        + (f", written by {plain_text(source['framework'], 60)}." if source["framework"] else "."),
        f"On {conversion['images']} {kind} the float32 graph and the original file agree on "
        f"{format_percent(conversion['same_top1'])} of the best classes; probabilities differ by at most "
        f"{conversion['largest_difference']:.0e}.",
        "",
        *(f"- {plain_text(note, 300)}" for note in source["notes"]),
        *([""] if source["notes"] else []),
    ]
    return lines + (_preprocessing_lines(alternatives) if alternatives else [])


def _preprocessing_lines(alternatives: dict[str, Any]) -> list[str]:
    """The ways to prepare pixels that were tried, best first, with the declared one."""
    rows = alternatives["trials"]
    shown = [
        row for number, row in enumerate(rows) if number < MAX_TRIALS or row["declared"] or row["in_file"]
    ]
    return [
        "### How its pixels are prepared",
        "",
        f"Tried on up to {alternatives['photos']} labelled photos; ways that are clearly worse saw fewer.",
        "",
        "| scale | channels | resize | filter | photos | top-1 | 95 % interval | only this | only declared |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {code(str(row['scale']))}{_trial_note(row)} | {row['channels']} "
            f"| {row['resize']}{' ' + format(row['crop'], 'g') if row['resize'] == 'crop' else ''} "
            f"| {row['filter']}{'' if row['antialias'] else ', no antialias'} | {row['photos']} "
            f"| {format_percent(row['top1'])} | {format_interval(row['top1_interval'])} "
            f"| {row['lost']} | {row['gained']} |"
            for row in shown
        ),
        "",
        "The last columns count the photos that only this way, and only the declared way, has right.",
        "",
    ]


def _trial_note(row: dict[str, Any]) -> str:
    notes = [text for key, text in (("declared", "declared"), ("in_file", "as in the file")) if row[key]]
    return f" **{', '.join(notes)}**" if notes else ""


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
            f"| {name} | {format_percent(metrics[key])} | {format_interval(metrics[f'{key}_interval'])} |"
            for name, key in SHARES
            if key in metrics
        ),
        f"| top-1 of always answering {code(majority['class'])}, the commonest class "
        f"| {format_percent(majority['share'])} | |",
        *(f"| {name} | {metrics[key]:.4f} | |" for name, key in NUMBERS),
        *_int8_rows(metrics),
    ]


def _int8_rows(metrics: dict[str, Any]) -> list[str]:
    """The rows of an int8 model: top-1 of its float32 graph, and the loss."""
    if metrics["precision"] != "int8":
        return []
    float32, loss = metrics["float32"], metrics["quantisation"]
    top1, interval = format_percent(float32["top1"]), format_interval(float32["top1_interval"])
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
            f"| {format_percent(row['recall'])} | {format_percent(row['precision'])} "
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
