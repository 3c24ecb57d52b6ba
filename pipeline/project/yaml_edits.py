"""Edits params.yaml and dvc.lock as text, so that comments and formatting of other models are preserved.

Every function takes the text of a file and returns the changed text.
"""

import re
from collections.abc import Callable
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq


def add_to_models(text: str, model: str) -> str:
    """Adds a model to the list `models` of params.yaml."""
    return _edit_models(text, lambda models: models.append(model))


def remove_section(text: str, model: str) -> str:
    """Removes a model from params.yaml: its entry in `models`, and its section with the comments."""
    text = _edit_models(text, lambda models: models.remove(model) if model in models else None)
    lines = text.splitlines(keepends=True)
    begin, end = _section_range(lines, model)
    return "".join([*lines[:begin], *lines[end:]]).rstrip() + "\n" if end else text


def rename_section(text: str, old: str, new: str) -> str:
    """Renames a model in params.yaml; its entry and its section keep their positions."""

    def rename(models: CommentedSeq) -> None:
        if old in models:
            models[models.index(old)] = new

    return re.sub(_section_pattern(old), f"{new}:", _edit_models(text, rename), count=1, flags=re.MULTILINE)


def remove_stages(text: str, model: str, stages: tuple[str, ...] = (r"\w+",)) -> str:
    """Removes stages of a model from dvc.lock; all of them by default."""
    names = "|".join(stages)
    kept = re.sub(rf"^  (?:{names})@{re.escape(model)}:\n(?:    .*\n)*", "", text, flags=re.MULTILINE)
    # DVC rejects a lock file in which `stages` has no value.
    return re.sub(r"^stages:\n(?!  )", "stages: {}\n", kept, flags=re.MULTILINE)


def rename_stages(text: str, old: str, new: str) -> str:
    """Renames the stages of a model in dvc.lock, with their paths, params and commands."""
    block = re.compile(rf"^  \w+@{re.escape(old)}:\n(?:    .*\n)*", re.MULTILINE)
    # Matches the whole name only, not a part of another model's or a file's name.
    name = re.compile(
        rf"(?<=@){re.escape(old)}(?=:\n)|(?<=python -m )(pipeline[\w.]+) {re.escape(old)}$"
        rf"|(?<=^        ){re.escape(old)}(?=\.\w+:)"
        rf"|(?<=- path: )((?:data/\w+|models|reports)/){re.escape(old)}(?=/|$)",
        re.MULTILINE,
    )

    def rename(match: re.Match[str]) -> str:
        return f"{match[1]} {new}" if match[1] else f"{match[2] or ''}{new}"

    return block.sub(lambda found: name.sub(rename, found[0]), text)


def _edit_models(text: str, edit: Callable[[CommentedSeq], object]) -> str:
    editor, written = YAML(), StringIO()
    editor.preserve_quotes, editor.width = True, 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(text)
    edit(document["models"])
    editor.dump(document, written)
    return written.getvalue()


def _section_pattern(model: str) -> str:
    return rf"^([\"']?){re.escape(model)}\1:"


def _section_range(lines: list[str], model: str) -> tuple[int, int]:
    """First line of a section, with the comment above it, and the line after its end; (0, 0) if none."""
    pattern = _section_pattern(model)
    begin = next((row for row, line in enumerate(lines) if re.match(pattern, line)), None)
    if begin is None:
        return 0, 0
    end = begin + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " #"):
        end += 1
    # A comment directly above the next section belongs to that section.
    while end < len(lines) and end > begin + 1 and lines[end - 1].startswith("#"):
        end -= 1
    while begin > 0 and lines[begin - 1].startswith("#"):
        begin -= 1
    return begin, end
