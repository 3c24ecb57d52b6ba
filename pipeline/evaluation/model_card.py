"""The model's card, `reports/<model>/README.md`: what a reader of the repository sees of a model."""

from typing import Any

from pipeline.markdown import code, code_list, plain_text

# Longer lists are in classes.csv and confusions.csv.
WORST = 5


def render(
    model: str,
    metrics: dict[str, Any],
    data: dict[str, Any],
    classes: list[dict[str, Any]],
    confusions: list[dict[str, Any]],
) -> str:
    """Writes the card. `classes` and `confusions` are the rows of the files of these names."""
    gate = metrics["gate"]
    images = data["images"]
    missed = never_answered(classes, confusions)
    lines = [
        f"# {model}",
        "",
        "![Right answers above, the surest wrong ones below](examples.png)",
        "",
        f"| on {metrics['images']} held-out images | value | 95 % interval |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {_percent(metrics[key])} | {_interval(metrics[f'{key}_interval'])} |"
            for name, key in SHARES
            if key in metrics
        ),
        f"| top-1 of always answering {code(metrics['majority']['class'])}, the commonest class "
        f"| {_percent(metrics['majority']['share'])} | |",
        *(f"| {name} | {metrics[key]:.4f} | |" for name, key in NUMBERS),
        *_eight_bits(metrics),
        "",
        f"**Gate: {'passed' if gate['passed'] else 'refused'}.**",
        "",
        *(f"- {name}: {check['reason']}" for name, check in sorted(gate["checks"].items())),
        "",
        f"Digest: `{metrics['digest']}`",
        "",
        "## Where it is weakest",
        "",
        "| class | images | recall | precision | most often taken for |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {code(row['name'])} | {row['images']} "
            f"| {_percent(row['recall'])} | {_percent(row['precision'])} "
            f"| {_taken_for(row['name'], confusions)} |"
            for row in sorted(
                (row for row in classes if row["images"]),
                key=lambda row: (row["recall"], row["precision"], row["name"]),
            )[:WORST]
        ),
        "",
        *([f"Never answered: {code_list(missed, WORST)}.", ""] if missed else []),
        *(
            f"- {code(row['actual'])} taken for {code(row['predicted'])}: {row['images']} times"
            for row in confusions[:WORST]
        ),
        "",
        "## Data",
        "",
        f"{images['train']} images to train, {images['valid']} to validate, {images['test']} to test; "
        f"{len(data['repeated'])} repeated ones were left out, "
        f"{data['look_alikes_across_splits']['pairs']} pairs look alike across splits.",
        "",
        f"Data digest: `{data['digest']}`",
        "",
        f"Built again by `make run MODEL={model}`. Written by the stage `evaluate`; edits are overwritten.",
    ]
    return "\n".join(lines) + "\n"


def baseline(metrics: dict[str, Any]) -> str:
    """What top-1 has to be compared with, in words for a terminal."""
    majority = metrics["majority"]
    return f"always answering {plain_text(majority['class'], 40)!r} has top-1 {majority['share']:.1%}"


def never_answered(classes: list[dict[str, Any]], confusions: list[dict[str, Any]]) -> list[str]:
    """The classes that have images and are the answer to none, as always the same answer leaves them."""
    named = {row["predicted"] for row in confusions}
    missed = (row["name"] for row in classes if row["images"] and not row["recall"])
    return [name for name in missed if name not in named]


SHARES = (("top-1", "top1"), ("top-5", "top5"))
NUMBERS = (
    ("precision, mean of classes", "precision_macro"),
    ("recall, mean of classes", "recall_macro"),
    ("F1, mean of classes", "f1_macro"),
    ("expected calibration error", "calibration_error"),
)


def _taken_for(name: str, confusions: list[dict[str, Any]]) -> str:
    """The commonest wrong answer to a class; "" if there is none."""
    found = (row for row in confusions if row["actual"] == name)
    return next((f"{code(row['predicted'])}, {row['images']} times" for row in found), "")


def _eight_bits(metrics: dict[str, Any]) -> list[str]:
    """The rows of a model that answers in 8 bits: what its float32 graph has right, and the loss."""
    if metrics["precision"] != "int8":
        return []
    floats, loss = metrics["float32"], metrics["quantisation"]
    low, high = (100 * bound for bound in loss["interval"])
    counted, points = f"{loss['lost']} images lost, {loss['gained']} gained", 100 * loss["top1_lost"]
    return [
        f"| top-1 in float32 | {_percent(floats['top1'])} | {_interval(floats['top1_interval'])} |",
        f"| top-1 lost to 8 bits: {counted} | {points:.1f} points | {low:.1f} to {high:.1f} |",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"
