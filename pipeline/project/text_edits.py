"""Editing params.yaml and dvc.lock as text: comments and layout of all other models stay as they are."""

import re
from collections.abc import Callable
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq


def listed(text: str, model: str) -> str:
    """params.yaml with a model added to the list `models`."""
    return _with_models(text, lambda models: models.append(model))


def without_section(text: str, model: str) -> str:
    """params.yaml without a model: neither in the list nor with a section, whose comments go too."""
    text = _with_models(text, lambda models: models.remove(model) if model in models else None)
    lines = text.splitlines(keepends=True)
    begin, end = _section(lines, model)
    return "".join([*lines[:begin], *lines[end:]]).rstrip() + "\n" if end else text


def renamed_section(text: str, old: str, new: str) -> str:
    """params.yaml with a model under another name, at the same places."""

    def rename(models: CommentedSeq) -> None:
        if old in models:
            models[models.index(old)] = new

    return re.sub(_key(old), f"{new}:", _with_models(text, rename), count=1, flags=re.MULTILINE)


def without_stages(text: str, model: str, stages: tuple[str, ...] = (r"\w+",)) -> str:
    """dvc.lock without stages of a model."""
    names = "|".join(stages)
    kept = re.sub(rf"^  (?:{names})@{re.escape(model)}:\n(?:    .*\n)*", "", text, flags=re.MULTILINE)
    # DVC refuses a lock whose stages are nothing at all.
    return re.sub(r"^stages:\n(?!  )", "stages: {}\n", kept, flags=re.MULTILINE)


def renamed_stages(text: str, old: str, new: str) -> str:
    """dvc.lock with the stages of a model under another name, their paths, params and commands too."""
    block = re.compile(rf"^  \w+@{re.escape(old)}:\n(?:    .*\n)*", re.MULTILINE)
    # As a whole name only: neither a part of another one nor of a file's name.
    name = re.compile(
        rf"(?<=@){re.escape(old)}(?=:\n)|(?<=pipeline\.)(\w+) {re.escape(old)}$"
        rf"|(?<=^        ){re.escape(old)}(?=\.\w+:)"
        rf"|(?<=- path: )((?:data/\w+|models|reports)/){re.escape(old)}(?=/|$)",
        re.MULTILINE,
    )

    def rename(match: re.Match[str]) -> str:
        return f"{match[1]} {new}" if match[1] else f"{match[2] or ''}{new}"

    return block.sub(lambda found: name.sub(rename, found[0]), text)


def _with_models(text: str, change: Callable[[CommentedSeq], object]) -> str:
    editor, written = YAML(), StringIO()
    editor.preserve_quotes, editor.width = True, 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(text)
    change(document["models"])
    editor.dump(document, written)
    return written.getvalue()


def _key(model: str) -> str:
    return rf"^([\"']?){re.escape(model)}\1:"


def _section(lines: list[str], model: str) -> tuple[int, int]:
    """First line, with the comment above it, and the line after the last; (0, 0) if there is none."""
    begin = next((row for row, line in enumerate(lines) if re.match(_key(model), line)), None)
    if begin is None:
        return 0, 0
    end = begin + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " #"):
        end += 1
    # The comment just above the next section is that one's.
    while end < len(lines) and end > begin + 1 and lines[end - 1].startswith("#"):
        end -= 1
    while begin > 0 and lines[begin - 1].startswith("#"):
        begin -= 1
    return begin, end
