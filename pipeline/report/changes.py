"""The sections of what changed around the figures: params, single images, data."""

from collections.abc import Sequence

from pipeline.data.split import SPLITS
from pipeline.markdown import code, details, table
from pipeline.report.comparison import Difference, split_changes
from pipeline.report.records import Data, Prediction
from pipeline.report.subject import Subject
from pipeline.report.wording import count, signed


def params(differences: Sequence[Difference], name: str, most: int) -> str:
    """The keys of params.yaml whose values differ."""
    rows = [[code(key), _value(before), _value(now)] for key, before, now in differences]
    return table(["key", name, "now"], rows, most) if rows else ""


def _value(text: str | None) -> str:
    return "not there" if text is None else code(text, 200)


def images(subject: Subject, shown: str, most: int) -> str:
    """The images that are answered otherwise than before; `shown` is their picture, or why there is none."""
    side = subject.other
    if side is None or not side.answers.changes:
        return ""
    lost, gained, other = (len(part) for part in (side.answers.lost, side.answers.gained, side.answers.other))
    also = f", {count(other, 'other mistake')}" if other else ""
    rows = [
        [code(change.now.image), code(change.now.actual), _answer(change.before), _answer(change.now)]
        for change in side.answers.changes
    ]
    listed = table(["image", "class", side.name, "now"], rows, most)
    counted = f"{lost:,} lost, {gained:,} gained{also}."
    return "\n\n".join(filter(None, [counted, shown, details("Their names", listed)]))


def _answer(row: Prediction) -> str:
    return f"{code(row.predicted)} {row.confidence:.0%}"


def data(subject: Subject, most: int) -> str:
    """How many images each split has, and which classes got or lost some."""
    now = subject.now.data
    if subject.base is None or subject.base.evidence.data.digest == now.digest:
        origin = "" if subject.base is None else f", the same as {subject.base.name}"
        return f"{_counted(now)}{origin}.\n"
    name, before = subject.base.name, subject.base.evidence.data
    rows = [_row(split, before.images.get(split, 0), now.images.get(split, 0)) for split in SPLITS]
    rows.append(_row("repeated, left out", len(before.repeated), len(now.repeated)))
    rows.append(_row("pairs that look alike across splits", _pairs(before), _pairs(now)))
    rows.append(["digest", code(before.digest[:12]), code(now.digest[:12]), ""])
    changed = [
        [code(label), *(f"{new:,} ({_plus(new - old)})" for old, new in zip(olds, news, strict=True))]
        for label, olds, news in split_changes(before, now)
    ]
    text = table(["images", name, "now", "difference"], rows, figures=True)
    if changed:
        summary = f"{count(len(changed), 'class', 'classes')} with more or fewer images"
        text += "\n" + details(summary, table(["class", *SPLITS], changed, most, figures=True))
    return text


def _counted(data: Data) -> str:
    splits = ", ".join(f"{data.images.get(split, 0):,} {split}" for split in SPLITS)
    return (
        f"{splits}; {count(len(data.repeated), 'repeated image')} left out, "
        f"{count(_pairs(data), 'pair')} that look alike across splits; digest {code(data.digest[:12])}"
    )


def _pairs(data: Data) -> int:
    return data.look_alikes_across_splits.pairs


def _row(name: str, before: int, now: int) -> list[str]:
    return [name, f"{before:,}", f"{now:,}", _plus(now - before) if now != before else "no change"]


def _plus(difference: int) -> str:
    return signed(difference) if difference else "±0"
