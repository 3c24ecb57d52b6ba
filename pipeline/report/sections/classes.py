"""The section about classes: greatest changes in recall, lowest recall, most frequent confusions."""

from collections.abc import Sequence
from itertools import zip_longest

from pipeline.markdown import code, details, omitted_note, table
from pipeline.report.differences import recall_changes, same_classes, weakest_classes
from pipeline.report.formatting import count, percent, points
from pipeline.report.model_comparison import ModelComparison, Reference
from pipeline.report.results import ClassResult, Confusion

# Rows of the collapsed tables, and classes that are listed in a sentence.
FEW = 5


def classes_section(comparison: ModelComparison, matrix: str, max_rows: int) -> str:
    """`matrix` is the image link of the confusion matrices, which are collapsed with the weakest classes."""
    reference = comparison.changed_reference
    weakest = f"{_weakest_classes(comparison, reference)}\n{matrix}"
    collapsed = details("Weakest classes, most frequent confusions", weakest)
    if reference is None:
        return collapsed
    before, now = reference.results.classes, comparison.current.classes
    parts = [
        _new_and_removed(before, now, max_rows),
        _recall_changes(before, now, reference.name, max_rows),
        collapsed,
    ]
    return "\n".join(filter(None, parts))


def _new_and_removed(before: Sequence[ClassResult], now: Sequence[ClassResult], max_rows: int) -> str:
    old, new = {row.name for row in before}, {row.name for row in now}
    shown, lines = min(max_rows, FEW), []
    for names, state in ((sorted(new - old), "new"), (sorted(old - new), "removed")):
        if names:
            listed = ", ".join(map(code, names[:shown]))
            rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
            lines.append(f"{count(len(names), 'class', 'classes')} {state}: {listed}{rest}.\n")
    return "\n".join(lines)


def _recall_changes(
    before: Sequence[ClassResult], now: Sequence[ClassResult], name: str, max_rows: int
) -> str:
    """At most `max_rows` classes: the greatest losses, then the greatest gains."""
    changes = recall_changes(before, now)
    if not changes:
        return f"No class has a different recall than {name}.\n"
    half = min(max_rows, 2 * FEW) // 2
    lost = [row for row in changes if row.difference < 0][:half]
    gained = [row for row in reversed(changes) if row.difference > 0][:half]
    rows = [
        [code(row.name), f"{row.images:,}", percent(row.before), percent(row.now), points(row.difference)]
        for row in [*lost, *gained]
    ]
    header = ["recall of the classes that changed most", "images", name, "now", "difference"]
    return table(header, rows, numeric=True) + omitted_note(len(changes), len(rows))


def _weakest_classes(comparison: ModelComparison, reference: Reference | None) -> str:
    shown = [("now", comparison.current)]
    if reference and not same_classes(reference.results, comparison.current):
        shown.append((reference.name, reference.results))
    weakest = [(name, list(map(_recall, weakest_classes(results.classes, FEW)))) for name, results in shown]
    confusions = [(name, list(map(_confusion, results.confusions[:FEW]))) for name, results in shown]
    tables = [_side_by_side("weakest", "recall", weakest)]
    if any(rows for _, rows in confusions):
        tables.append(_side_by_side("confused", "images", confusions))
    return "\n".join(tables)


def _recall(row: ClassResult) -> tuple[str, str]:
    return code(row.name), f"{percent(row.recall)} of {row.images:,}"


def _confusion(row: Confusion) -> tuple[str, str]:
    return f"{code(row.actual)} for {code(row.predicted)}", f"{row.images:,}"


def _side_by_side(title: str, value: str, columns: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """A table of several lists of pairs, which may have different lengths."""
    header = [text for name, _ in columns for text in (f"{title}, {name}", value)]
    lines = zip_longest(*(rows for _, rows in columns), fillvalue=("", ""))
    return table(header, [[text for pair in line for text in pair] for line in lines])
