"""The report as one text that GitHub takes: what is least important makes room for the rest."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.markdown import omitted_note
from pipeline.report.verdict import Mood, Verdict

# A comment may have 65,536 characters, of which there are never more than bytes. What publishes it adds a
# mark of its own, and makes the links of pictures longer.
LIMIT, PICTURE = 62_000, 160
# What verdicts may take of it; the rest is theirs who ask why.
VERDICTS = LIMIT // 2
# Rows of a table or list: as many as anybody reads, fewer as room gets scarce, and then the section goes.
LEVELS = (50, 20, 6)


@dataclass(frozen=True)
class Section:
    """A part of the report. Of two the one with more weight stays longer.

    `render` takes how many rows there may be; where it gives nothing there is no section.
    """

    model: str
    title: str
    weight: int
    render: Callable[[int], str]

    def text(self, most: int, depth: int) -> str:
        body = self.render(most).strip()
        return f"{'#' * depth} {self.title}\n\n{body}\n" if body else ""


def size(text: str) -> int:
    """The room that a text takes, in bytes, once it is published."""
    return len(text.encode()) + PICTURE * linked(text)


def linked(text: str) -> int:
    """How many pictures a text shows. What comes out of files never begins a line."""
    return len(re.findall(r"^!\[", text, re.MULTILINE))


def page(verdicts: Sequence[Verdict], compared: str, sections: Sequence[Section], foot: str) -> str:
    """Title, verdicts, what they are compared with, sections, and a foot.

    Verdicts and sections come in the order of the models, those that matter most first.
    """
    several = len(verdicts) > 1
    top = "\n".join(filter(None, ["## Model report\n", *_verdicts(verdicts), f"{compared}\n"]))
    headings = {section.model: f"### {section.model}\n" if several else "" for section in sections}
    # The line about what is gone has a few hundred characters.
    room = LIMIT - size(top) - size(foot) - 1000 - sum(map(size, headings.values()))
    whole = [section.text(LEVELS[0], 4 if several else 3) for section in sections]
    fitted = _fit(sections, whole, room, 4 if several else 3)
    titles = zip((section.title for section in sections), whole, fitted, strict=True)
    gone = Counter(title for title, text, left in titles if text and not left)
    parts = [
        # Above the first of a model's sections that is there.
        "\n".join(filter(None, [headings.pop(section.model, ""), text]))
        for section, text in zip(sections, fitted, strict=True)
        if text
    ]
    return "\n".join(filter(None, [top, *parts, _gone(gone), foot]))


def _fit(sections: Sequence[Section], whole: Sequence[str], room: int, depth: int) -> list[str]:
    """Shortens sections, the least important ones first, then leaves them out in the same order."""
    texts, taken = list(whole), sum(map(size, whole))
    order = sorted(range(len(sections)), key=lambda place: (sections[place].weight, -place))
    for most in (*LEVELS[1:], None):
        for place in order:
            if taken <= room:
                return texts
            shorter = "" if most is None else sections[place].text(most, depth)
            taken += size(shorter) - size(texts[place])
            texts[place] = shorter
    return texts


def _gone(gone: Counter[str]) -> str:
    if not gone:
        return ""
    listed = ", ".join(f"{title} ({number:,})" for title, number in gone.items())
    return f"Left out, for GitHub takes no longer comment: {listed}.\n"


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """All verdicts; of too many the notes go, then the last ones."""
    if len(verdicts) == 1:
        return [f"{verdicts[0].line}\n", "".join(f"- {note}\n" for note in verdicts[0].notes)]
    lines = [f"- {verdict.line}\n" for verdict in verdicts]
    notes = ["".join(f"  - {note}\n" for note in verdict.notes) for verdict in verdicts]
    blocks = [line + note for line, note in zip(lines, notes, strict=True)]
    if sum(map(size, blocks)) > VERDICTS:
        blocks = lines
    shown = len(blocks)
    while sum(map(size, blocks[:shown])) > VERDICTS:
        shown -= 1
    return [_summary(verdicts), "".join(blocks[:shown]) + omitted_note(len(blocks), shown)]


def _summary(verdicts: Sequence[Verdict]) -> str:
    moods = Counter(verdict.mood for verdict in verdicts)
    counted = ", ".join(f"{moods[mood]:,} {mood.name.lower()}" for mood in Mood if moods[mood])
    return f"{len(verdicts):,} models: {counted}.\n"
