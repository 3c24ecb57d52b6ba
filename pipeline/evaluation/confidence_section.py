"""The section of the model card on confidence, and its line on the terminal, from metrics.json."""

from collections.abc import Iterator
from typing import Any

from pipeline.evaluation.formatting import format_interval, format_percent
from pipeline.markdown import code

Figures = dict[str, Any]


def confidence_lines(confidence: Figures) -> list[str]:
    """How true the probabilities are, label sets, abstention, and foreign images."""
    return [
        "## Confidence",
        "",
        "![Reliability diagram](reliability.png)",
        "",
        *_calibration_lines(confidence),
        "",
        *_label_set_lines(confidence["label_sets"]),
        "",
        *_abstention_lines(confidence["abstention"]),
        "",
        *_familiar_lines(confidence.get("familiar")),
        "",
    ]


def confidence_summary(confidence: Figures) -> str:
    """One line for the terminal."""
    before, after = (confidence[key]["value"] for key in ("uncalibrated_error", "calibration_error"))
    parts = [f"calibration error {after:.1%}"]
    if confidence["temperature"] not in (None, 1):
        parts[0] += f" ({before:.1%} before a temperature of {confidence['temperature']:g})"
    parts += [
        f"sets of {entry['level']:.0%} have {entry['coverage']:.1%}" for entry in confidence["label_sets"]
    ]
    if foreign := _all_foreign(confidence.get("familiar")):
        parts.append(f"AUROC of {foreign['images']} foreign images {foreign['auroc']:.3f}")
    return ", ".join(parts)


def _calibration_lines(confidence: Figures) -> list[str]:
    temperature, images = confidence["temperature"], f"{confidence['images']} validation images"
    before, after = confidence["uncalibrated_error"], confidence["calibration_error"]
    fitted = {
        None: f"No temperature was fitted: {images} are too few.",
        1: f"The temperature is 1: on {images} none was significantly better.",
    }
    scaled = (
        f"All logits are divided by a temperature of {temperature}, fitted on {images}; "
        f"without it the expected calibration error is {_with_interval(before)}."
    )
    return [
        fitted.get(temperature, scaled),
        f"The expected calibration error is {_with_interval(after)}; a perfectly calibrated model has "
        f"{format_percent(after['if_calibrated'])} on average on as many images.",
    ]


def _with_interval(error: Figures) -> str:
    return f"{format_percent(error['value'])} ({format_interval(error['interval'])})"


def _label_set_lines(sets: list[Figures]) -> list[str]:
    if not sets:
        return ["Label sets: no guarantee, for there are too few validation images."]
    return [
        "| label set | coverage of the test images | classes in a set, on average "
        "| right class above the threshold | expected |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {entry['level']:.0%} | {format_percent(entry['coverage'])} "
            f"({format_interval(entry['coverage_interval'])}) | {entry['mean_size']:.2f} "
            f"| {format_percent(entry['above_threshold'])} | {format_interval(entry['band'])} |"
            for entry in sets
        ),
        "",
        "Sets always have the best class, so they cover at least as many images as top-1. The right class "
        "alone is above the threshold in as many as expected if test and validation images are of one kind.",
    ]


def _abstention_lines(rows: list[Figures]) -> list[str]:
    return [
        "A server with `GOLDFISH_ABSTAIN_BELOW` abstains where the best class has a lower probability:",
        "",
        "| abstains below | test images still answered | top-1 of these |",
        "| --- | --- | --- |",
        *(
            f"| {row['threshold']:g} | {format_percent(row['answered'])} "
            f"({format_interval(row['answered_interval'])}) | {_accuracy(row)} |"
            for row in rows
        ),
    ]


def _accuracy(row: Figures) -> str:
    if row["accuracy"] is None:
        return ""
    return f"{format_percent(row['accuracy'])} ({format_interval(row['accuracy_interval'])})"


def _familiar_lines(familiar: Figures | None) -> list[str]:
    """The threshold of the energy, and how well the energy tells foreign images from test images."""
    if familiar is None:
        return [
            "Unfamiliar images: not recognised, for the model does not end in a softmax, and has no energy."
        ]
    threshold = familiar["threshold"]
    first = (
        "Unfamiliar images: no threshold, for there are too few validation images."
        if threshold is None
        else f"Images with an energy below {threshold:g} are called unfamiliar: "
        f"{format_percent(familiar['unfamiliar_share'])} of the test images."
    )
    return [first, "", *_foreign_lines(familiar.get("foreign"))]


def _foreign_lines(foreign: Figures | None) -> list[str]:
    if foreign is None:
        return ["How it takes foreign images was not measured: there are none in `data/foreign/`."]
    notes = list(_unreadable_lines(foreign["unreadable"]))
    if foreign["all"] is None:
        return [f"How it takes foreign images was not measured: {code(foreign['source'])} has none.", *notes]
    origin = "built in" if foreign["source"] == "built in" else f"from {code(foreign['source'])}"
    groups = [(code(name), entry) for name, entry in sorted(foreign["groups"].items())]
    return [
        f"Foreign images ({origin}). AUROC: the probability that a test image has a higher energy than one "
        "of them.",
        "",
        "| foreign images | number | AUROC | 95 % interval | called unfamiliar |",
        "| --- | --- | --- | --- | --- |",
        *(_foreign_row(name, entry) for name, entry in [*groups, ("all", foreign["all"])]),
        *(["", *notes] if notes else []),
    ]


def _foreign_row(name: str, entry: Figures) -> str:
    low, high = entry["interval"]
    share = entry["unfamiliar_share"]
    unfamiliar = "" if share is None else format_percent(share)
    return f"| {name} | {entry['images']} | {entry['auroc']:.3f} | {low:.3f} to {high:.3f} | {unfamiliar} |"


def _unreadable_lines(unreadable: Figures) -> Iterator[str]:
    if unreadable["files"]:
        rest = unreadable["files"] - len(unreadable["first"])
        more = f" and {rest} more" if rest else ""
        yield f"No images that the server decodes: {', '.join(map(code, unreadable['first']))}{more}."


def _all_foreign(familiar: Figures | None) -> Figures | None:
    """The figures of all foreign images together, if there are any."""
    foreign = (familiar or {}).get("foreign") or {}
    found: Figures | None = foreign.get("all")
    return found
