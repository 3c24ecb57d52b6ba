"""The section of a model's classes: which lost and gained most, which are weakest, what is confused."""

from collections.abc import Sequence
from itertools import zip_longest

from pipeline.markdown import code, details, omitted_note, table
from pipeline.report.comparison import ClassChange, class_changes, same_classes, weakest
from pipeline.report.records import ClassRow, Confusion
from pipeline.report.subject import Side, Subject
from pipeline.report.wording import count, percent, points

# What is weakest, and what is confused most: the first few say where to look.
FEW = 5


def classes(subject: Subject, matrix: str, most: int) -> str:
    """The classes that lost and gained most, in the open; what is weakest, and the matrix, folded away."""
    side = subject.other
    folded = details("Weakest classes, most frequent confusions", f"{_weakest(subject, side)}\n{matrix}")
    if side is None:
        return folded
    before, now = side.evidence.classes, subject.now.classes
    parts = [_came_and_went(before, now, most), _moved(class_changes(before, now), side.name, most), folded]
    return "\n".join(filter(None, parts))


def _came_and_went(before: Sequence[ClassRow], now: Sequence[ClassRow], most: int) -> str:
    old, new = {row.name for row in before}, {row.name for row in now}
    lines = []
    for names, what in ((sorted(new - old), "new"), (sorted(old - new), "gone")):
        shown = min(most, FEW)
        if names:
            listed = ", ".join(code(name) for name in names[:shown])
            rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
            lines.append(f"{count(len(names), 'class', 'classes')} {what}: {listed}{rest}.\n")
    return "\n".join(lines)


def _moved(changed: Sequence[ClassChange], name: str, most: int) -> str:
    """At most `most` classes: those that lost most, then those that gained most."""
    if not changed:
        return f"No class has another recall than {name}.\n"
    half = min(most, 2 * FEW) // 2
    lost = [row for row in changed if row.difference < 0][:half]
    gained = [row for row in reversed(changed) if row.difference > 0][:half]
    rows = [
        [code(row.name), f"{row.images:,}", percent(row.before), percent(row.now), points(row.difference)]
        for row in [*lost, *gained]
    ]
    header = ["recall of the classes that changed most", "images", name, "now", "difference"]
    return table(header, rows, figures=True) + omitted_note(len(changed), len(rows))


def _weakest(subject: Subject, side: Side | None) -> str:
    columns = [("now", subject.now)]
    if side and not same_classes(side.evidence, subject.now):
        columns.append((side.name, side.evidence))
    recalls = [(name, [_recall(row) for row in weakest(it.classes, FEW)]) for name, it in columns]
    mistakes = [(name, [_confused(row) for row in it.confusions[:FEW]]) for name, it in columns]
    tables = [_beside("weakest", "recall", recalls)]
    if any(rows for _, rows in mistakes):
        tables.append(_beside("taken for another", "images", mistakes))
    return "\n".join(tables)


def _recall(row: ClassRow) -> tuple[str, str]:
    return code(row.name), f"{percent(row.recall)} of {row.images:,}"


def _confused(row: Confusion) -> tuple[str, str]:
    return f"{code(row.actual)} for {code(row.predicted)}", f"{row.images:,}"


def _beside(what: str, figure: str, columns: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Lists of different length beside each other."""
    header = [text for name, _ in columns for text in (f"{what}, {name}", figure)]
    lines = zip_longest(*(rows for _, rows in columns), fillvalue=("", ""))
    return table(header, [[text for pair in line for text in pair] for line in lines])
