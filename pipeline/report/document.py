"""Assembles verdicts and sections into one Markdown text that fits into a GitHub comment.

Too long a report loses the rows and then the sections with the lowest priority.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.markdown import omitted_note
from pipeline.report.sections.verdict import Status, Verdict

# A comment may have 65,536 characters, which are never more than bytes. The publishing tool adds a marker and
# makes image URLs longer.
MAX_BYTES, BYTES_PER_IMAGE = 62_000, 160
# Half of it at most for the verdicts, so that room for sections remains.
MAX_VERDICT_BYTES = MAX_BYTES // 2
# Reserved for the line that lists the sections left out.
OMISSION_BYTES = 1000
# Rows per table or list; the next lower limit applies while the report is too long.
ROW_LIMITS = (50, 20, 6)


@dataclass(frozen=True)
class Section:
    """A part of the report. Those with a lower priority are shortened and left out first.

    `render` takes the maximum number of rows; a section that renders as empty is not shown.
    """

    model: str
    title: str
    priority: int
    render: Callable[[int], str]

    def text(self, max_rows: int, depth: int) -> str:
        body = self.render(max_rows).strip()
        return f"{'#' * depth} {self.title}\n\n{body}\n" if body else ""


def published_bytes(text: str) -> int:
    """The size of a text in bytes once its images have URLs."""
    return len(text.encode()) + BYTES_PER_IMAGE * count_images(text)


def count_images(text: str) -> int:
    """Counts image links. Only the report's own ones are at the start of a line."""
    return len(re.findall(r"^!\[", text, re.MULTILINE))


def render_document(
    verdicts: Sequence[Verdict], compared: str, sections: Sequence[Section], footer: str
) -> str:
    """Title, verdicts, the sentence `compared`, sections and footer.

    Verdicts and sections are sorted by model, most urgent first.
    """
    several = len(verdicts) > 1
    depth = 4 if several else 3
    top = "\n".join(filter(None, ["## Model report\n", *_verdict_blocks(verdicts), f"{compared}\n"]))
    headings = {section.model: f"### {section.model}\n" if several else "" for section in sections}
    fixed = sum(map(published_bytes, (top, footer, *headings.values())))
    full = [section.text(ROW_LIMITS[0], depth) for section in sections]
    fitted = _fit(sections, full, MAX_BYTES - fixed - OMISSION_BYTES, depth)
    omitted_titles = Counter(
        section.title for section, text, left in zip(sections, full, fitted, strict=True) if text and not left
    )
    parts = [
        # `pop`: the model's heading stands above its first section only.
        "\n".join(filter(None, [headings.pop(section.model, ""), text]))
        for section, text in zip(sections, fitted, strict=True)
        if text
    ]
    return "\n".join(filter(None, [top, *parts, _omission(omitted_titles), footer]))


def _fit(sections: Sequence[Section], full: Sequence[str], max_bytes: int, depth: int) -> list[str]:
    """Shortens sections to each row limit and then leaves them out, lowest priority and last ones first."""
    texts, total = list(full), sum(map(published_bytes, full))
    order = sorted(range(len(sections)), key=lambda index: (sections[index].priority, -index))
    for max_rows in (*ROW_LIMITS[1:], None):
        for index in order:
            if total <= max_bytes:
                return texts
            shorter = "" if max_rows is None else sections[index].text(max_rows, depth)
            total += published_bytes(shorter) - published_bytes(texts[index])
            texts[index] = shorter
    return texts


def _omission(titles: Counter[str]) -> str:
    if not titles:
        return ""
    listed = ", ".join(f"{title} ({number:,})" for title, number in titles.items())
    return f"Left out to fit into a GitHub comment: {listed}.\n"


def _verdict_blocks(verdicts: Sequence[Verdict]) -> list[str]:
    """All verdicts; if they are too long, without notes, and then without the last ones."""
    if len(verdicts) == 1:
        return [f"{verdicts[0].line}\n", "".join(f"- {note}\n" for note in verdicts[0].notes)]
    lines = [f"- {verdict.line}\n" for verdict in verdicts]
    blocks = [
        line + "".join(f"  - {note}\n" for note in verdict.notes)
        for line, verdict in zip(lines, verdicts, strict=True)
    ]
    if sum(map(published_bytes, blocks)) > MAX_VERDICT_BYTES:
        blocks = lines
    shown = len(blocks)
    while sum(map(published_bytes, blocks[:shown])) > MAX_VERDICT_BYTES:
        shown -= 1
    return [_status_counts(verdicts), "".join(blocks[:shown]) + omitted_note(len(blocks), shown)]


def _status_counts(verdicts: Sequence[Verdict]) -> str:
    numbers = Counter(verdict.status for verdict in verdicts)
    listed = ", ".join(f"{numbers[status]:,} {status.name.lower()}" for status in Status if numbers[status])
    return f"{len(verdicts):,} models: {listed}.\n"
