"""The results of a comparison, as figures and as lines for the terminal."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pipeline.comparison.measurement import Measurement
from pipeline.comparison.photos import PhotoFolder
from pipeline.comparison.versions import Version
from pipeline.evaluation.formatting import format_interval, format_percent
from pipeline.evaluation.metrics import (
    DIGITS,
    one_sided_mcnemar_p_value,
    paired_difference_interval,
    round_interval,
    wilson_interval,
)
from pipeline.markdown import plain_text
from serving.trial.counts import DIFFERENCE_BOUNDS

# Lines of a list in the terminal; the JSON file has all of them.
MAX_LINES = 10


@dataclass(frozen=True)
class Accuracy:
    """How many of the labelled images each bundle has right, and how many only one of them.

    `p_value`: of McNemar's exact one-sided test that B is worse than A.
    """

    images: int
    right_a: int
    right_b: int
    lost: int
    gained: int

    @classmethod
    def of(cls, measured: Measurement) -> Self | None:
        """Of the labelled images; `None` if there are none."""
        rows = [
            (pair.active_label == photo.label, pair.candidate_label == photo.label)
            for photo, pair in zip(measured.photos, measured.pairs, strict=True)
            if photo.label is not None
        ]
        if not rows:
            return None
        return cls(
            len(rows),
            sum(a for a, _ in rows),
            sum(b for _, b in rows),
            sum(a and not b for a, b in rows),
            sum(b and not a for a, b in rows),
        )

    @property
    def p_value(self) -> float:
        return one_sided_mcnemar_p_value(self.lost, self.gained)

    def to_json(self) -> dict[str, Any]:
        shares = {"a": self.right_a, "b": self.right_b}
        return {
            "images": self.images,
            **{name: round(right / self.images, DIGITS) for name, right in shares.items()},
            **{
                f"{name}_interval": round_interval(wilson_interval(right, self.images))
                for name, right in shares.items()
            },
            "lost": self.lost,
            "gained": self.gained,
            "lost_interval": round_interval(paired_difference_interval(self.lost, self.gained, self.images)),
            "p_value": self.p_value,
        }


def summarise(first: Version, second: Version, folder: PhotoFolder, measured: Measurement) -> dict[str, Any]:
    """All figures. Shares are 0 to 1; times are the median of a prediction, without decoding, in ms."""
    counts, accuracy = measured.counts, Accuracy.of(measured)
    valid = [pair for pair in measured.pairs if not pair.failed]
    seconds = {
        "a": [pair.active_seconds for pair in valid],
        "b": [pair.candidate_seconds for pair in valid],
    }
    confusions = Counter((pair.active_label, pair.candidate_label) for pair in valid if not pair.agreed)
    return {
        "model": first.predictor.bundle.manifest.name,
        "a": _describe(first),
        "b": _describe(second),
        "folder": str(folder.folder),
        "images": counts.compared,
        "agreed": counts.agreed,
        "agreement": round(counts.agreed / counts.compared, DIGITS),
        "agreement_interval": round_interval(wilson_interval(counts.agreed, counts.compared)),
        "failed": counts.failed,
        "failures": [{"file": name, "reason": reason} for name, reason in measured.failures],
        "difference_mean": _rounded(counts.mean_difference),
        "difference_largest": _rounded(max((pair.difference for pair in valid), default=None)),
        "differences": dict(zip(map(str, DIFFERENCE_BOUNDS), counts.differences, strict=True)),
        "milliseconds": {
            name: _rounded(1000 * float(np.median(each))) if each else None for name, each in seconds.items()
        },
        "slower": counts.slower,
        "accuracy": accuracy.to_json() if accuracy else None,
        "disagreements": [
            {"a": a, "b": b, "images": number} for (a, b), number in sorted(confusions.items(), key=_order)
        ],
        "decision": {
            "state": measured.decision.state.value,
            "reason": measured.decision.reason,
            "after": measured.decided_after,
        },
        "broken": [{"file": name, "reason": reason} for name, reason in measured.broken],
        "links": folder.links,
    }


def _describe(version: Version) -> dict[str, Any]:
    return {"name": version.name, "version": version.number, "digest": version.digest}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _order(entry: tuple[tuple[str, str | None], int]) -> tuple[int, str, str]:
    """Most frequent first, then by label."""
    (first, second), number = entry
    return -number, first, second or ""


def terminal_lines(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as a table of two columns."""
    for name in ("a", "b"):
        version = figures[name]
        number = "" if version["version"] is None else f", version {version['version']}"
        yield _line(name.upper(), f"{version['digest']}  {plain_text(version['name'], 80)}{number}")
    broken = f", {len(figures['broken']):,} more could not be compared" if figures["broken"] else ""
    yield _line("images", f"{figures['images']:,} of {plain_text(figures['folder'], 200)}{broken}")
    yield from _agreement_lines(figures)
    if figures["accuracy"]:
        yield from _accuracy_lines(figures["accuracy"])
    yield from _list_lines(
        "disagreements",
        [
            f"{plain_text(row['a'], 40)} -> {plain_text(row['b'], 40)}: {row['images']:,}"
            for row in figures["disagreements"]
        ],
    )
    for title in ("failures", "broken"):
        rows = [f"{plain_text(row['file'], 80)}: {plain_text(row['reason'], 200)}" for row in figures[title]]
        yield from _list_lines(title, rows)
    if figures["links"]:
        yield _line("not followed", f"{len(figures['links']):,} links to folders")
    decision, after = figures["decision"], figures["decision"]["after"]
    state = decision["state"].replace("_", " ")
    when = f" after {after:,} answers" if after else ""
    yield _line("decision", f"{state}{when}")
    yield _line("", f"B {decision['reason']}")


def _agreement_lines(figures: dict[str, Any]) -> Iterator[str]:
    share, interval = format_percent(figures["agreement"]), format_interval(figures["agreement_interval"])
    failed = f", B failed on {figures['failed']:,}" if figures["failed"] else ""
    agreed = f"{figures['agreed']:,} of {figures['images']:,}"
    yield _line("agreement", f"{agreed}, {share} (95 % interval {interval}){failed}")
    if figures["difference_mean"] is None:
        return
    mean, largest = figures["difference_mean"], figures["difference_largest"]
    yield _line(
        "probability", f"of A's best class differs by {mean:.4f} on average, by {largest:.4f} at most"
    )
    times = figures["milliseconds"]
    yield _line("time per image", f"A {times['a']:.2f} ms, B {times['b']:.2f} ms (median, without decoding)")


def _accuracy_lines(accuracy: dict[str, Any]) -> Iterator[str]:
    a, b = (
        f"{name.upper()} {format_percent(accuracy[name])} ({format_interval(accuracy[f'{name}_interval'])})"
        for name in ("a", "b")
    )
    yield _line("accuracy", f"{a}, {b}, of {accuracy['images']:,} labelled images")
    yield _line(
        "",
        f"{accuracy['lost']:,} only A has right, {accuracy['gained']:,} only B; "
        f"McNemar's exact one-sided test that B is worse: p = {accuracy['p_value']:.2g}",
    )


def _list_lines(title: str, rows: list[str]) -> Iterator[str]:
    """The first rows of a list, and how many there are besides."""
    more = len(rows) - MAX_LINES
    shown = [*rows[:MAX_LINES], *([f"and {more:,} more"] if more > 0 else [])]
    for number, row in enumerate(shown):
        yield _line(title if number == 0 else "", row)


def _line(title: str, text: str) -> str:
    return f"{title:<15} {text}"
