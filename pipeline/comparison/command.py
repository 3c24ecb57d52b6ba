"""`python -m pipeline compare`: opens bundles and images, prints the figures, and writes them as JSON."""

import argparse
import json
from pathlib import Path

from pipeline.comparison.measurement import check_labels, measure
from pipeline.comparison.photos import find_photos
from pipeline.comparison.summary import summarise, terminal_lines
from pipeline.comparison.versions import open_version
from pipeline.errors import ComparisonImpossible
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.markdown import plain_text
from serving.trial.decision import Rules
from serving.trial.defaults import AGREEMENT_FLOOR, MAX_SLOWDOWN


def compare(layout: Layout, first: str, second: str, photos: Path | None, rules: Rules) -> dict[str, object]:
    """Compares two bundles of a model on the images of a folder, by default its test images.

    Returns the figures. Raises a `PipelineError` or a `ServingError` if a bundle or all images are unusable.
    """
    active, candidate = open_version(layout, first), open_version(layout, second)
    check_labels(active, candidate)
    folder = find_photos(photos or layout.test, active.predictor.labels)
    measured = measure(active, candidate, folder.photos, rules)
    if not measured.pairs:
        name, reason = measured.broken[0]
        example = plain_text(f"{name}: {reason}", 300).rstrip(".")
        tried = f"{len(measured.broken):,} tried"
        found = f"none of its files is usable ({tried}), for instance {example}"
        raise ComparisonImpossible(folder.folder, found)
    return summarise(active, candidate, folder, measured)


def compare_and_report(options: argparse.Namespace) -> None:
    """Prints the comparison that the options ask for, and writes it to the file of `--json`."""
    rules = Rules(agreement_floor=options.floor, max_slowdown=options.slowdown)
    figures = compare(Layout(options.model), options.a, options.b, options.photos, rules)
    for line in terminal_lines(figures):
        print(line)
    if options.json is not None:
        # Escaped to ASCII: file names and labels may have characters that UTF-8 cannot encode.
        write(options.json, f"{json.dumps(figures, indent=1, allow_nan=False)}\n".encode())
        print(f"{plain_text(str(options.json), 200)} has all figures")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments after the model."""
    for name, role in (("a", "the active version"), ("b", "the candidate")):
        text = f"{role}: pinned, challenger, workspace, a version's number, or a bundle's folder"
        command.add_argument(name, metavar=name.upper(), help=text)
    command.add_argument("--photos", type=Path, metavar="DIR", help="images; by default the test images")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file too")
    text = "share of answers in which B must agree; default: %(default)s"
    command.add_argument("--floor", type=_parse_floor, default=AGREEMENT_FLOOR, help=text)
    text = "how many times as long B may take for an image; default: %(default)s"
    command.add_argument("--slowdown", type=_parse_slowdown, default=MAX_SLOWDOWN, help=text)


def _parse_floor(text: str) -> float:
    try:
        return Rules(agreement_floor=float(text)).agreement_floor
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse_slowdown(text: str) -> float:
    try:
        return Rules(max_slowdown=float(text)).max_slowdown
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
