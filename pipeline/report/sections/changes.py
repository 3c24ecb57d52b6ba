"""The sections about changed params, changed predictions and changed data."""

from collections.abc import Sequence

from pipeline.data.split import SPLITS
from pipeline.markdown import code, details, table
from pipeline.report.differences import ParamChange, split_changes
from pipeline.report.formatting import count, short_digest, signed
from pipeline.report.model_comparison import ModelComparison
from pipeline.report.results import DataSummary, Prediction


def params_section(changes: Sequence[ParamChange], base: str, max_rows: int) -> str:
    """`base` is the heading of the column with the old values."""
    rows = [[code(key), _param(before), _param(now)] for key, before, now in changes]
    return table(["key", base, "now"], rows, max_rows) if rows else ""


def _param(value: str | None) -> str:
    return "not there" if value is None else code(value, 200)


def predictions_section(comparison: ModelComparison, tiles: str, max_rows: int) -> str:
    """The images whose predicted class changed; `tiles` shows them, or states why they cannot be shown."""
    reference = comparison.changed_reference
    if reference is None or not reference.paired.changed:
        return ""
    paired = reference.paired
    other = f", {count(len(paired.other_errors), 'other mistake')}" if paired.other_errors else ""
    summary = f"{len(paired.lost):,} lost, {len(paired.gained):,} gained{other}."
    rows = [
        [code(change.now.image), code(change.now.actual), _prediction(change.before), _prediction(change.now)]
        for change in paired.changed
    ]
    names = details("Their names", table(["image", "class", reference.name, "now"], rows, max_rows))
    return "\n\n".join(filter(None, [summary, tiles, names]))


def _prediction(row: Prediction) -> str:
    return f"{code(row.predicted)} {row.confidence:.0%}"


def data_section(comparison: ModelComparison, max_rows: int) -> str:
    """The number of images in each split, and the classes in which it changed."""
    base, now = comparison.base, comparison.current.data
    if base is None or base.results.data.digest == now.digest:
        return f"{_data_summary(now)}{f', the same as {base.name}' if base else ''}.\n"
    before = base.results.data
    rows = [_count_row(split, before.images.get(split, 0), now.images.get(split, 0)) for split in SPLITS]
    rows += [
        _count_row("repeated, left out", len(before.repeated), len(now.repeated)),
        _count_row("pairs that look alike across splits", before.near_duplicates, now.near_duplicates),
        ["digest", short_digest(before.digest), short_digest(now.digest), ""],
    ]
    changed = [
        [code(label), *(f"{new:,} ({_difference(new - old)})" for old, new in zip(olds, news, strict=True))]
        for label, olds, news in split_changes(before, now)
    ]
    text = table(["images", base.name, "now", "difference"], rows, numeric=True)
    if changed:
        summary = f"{count(len(changed), 'class', 'classes')} with more or fewer images"
        text += "\n" + details(summary, table(["class", *SPLITS], changed, max_rows, numeric=True))
    return text


def _data_summary(data: DataSummary) -> str:
    splits = ", ".join(f"{data.images.get(split, 0):,} {split}" for split in SPLITS)
    return (
        f"{splits}; {count(len(data.repeated), 'repeated image')} left out, "
        f"{count(data.near_duplicates, 'pair')} that look alike across splits; "
        f"digest {short_digest(data.digest)}"
    )


def _count_row(name: str, before: int, now: int) -> list[str]:
    return [name, f"{before:,}", f"{now:,}", signed(now - before) if now != before else "no change"]


def _difference(difference: int) -> str:
    return signed(difference) if difference else "±0"
