"""Reads the names of a model's classes from the files that people have for them."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import LabelsInvalid
from pipeline.model_files.model_file import Head
from serving.artifact.bundle import Label

# ImageNet-21k's labels have 2 MB with their descriptions; a Hugging Face config.json has them twice.
MAX_BYTES = 2**25
MAX_LABELS, MAX_NAME = 1_000_000, 1000
ADVICE = "Write one name a line, in the order of the model's outputs"
NUMBERED = re.compile(r"\s*(\d+)[\s:,;]+(\S.*)")


def read_labels(path: Path) -> list[Label]:
    """The classes in the order of the model's outputs; names are unique.

    Understands lines, lines that begin with their number (Teachable Machine), a JSON list, a JSON object of
    names by number or of numbers by name, Keras's imagenet_class_index.json, and the config.json of Hugging
    Face. Raises `LabelsInvalid`.
    """
    text = _read_text(path)
    stripped = text.lstrip()
    pairs = _from_json(text, path) if stripped[:1] in ("{", "[") else _from_lines(text, path)
    if not pairs:
        raise LabelsInvalid(path, "it has no names", ADVICE)
    if len(pairs) > MAX_LABELS:
        raise LabelsInvalid(path, f"it has {len(pairs):,} names; the limit is {MAX_LABELS:,}", ADVICE)
    return _unique([(_checked(id, path), _checked(name, path)) for id, name in pairs])


def check_count(labels: Sequence[Label], columns: int, head: Head | None, path: Path) -> None:
    """Raises `LabelsInvalid` unless there is one label for each class; one column stands for two classes."""
    single = columns == 1 or head in ("sigmoid", "logit")
    wanted = 2 if single else columns
    if len(labels) == wanted:
        return
    first = labels[0].name if labels else ""
    if single:
        advice = "Write two lines: first the class for which the output is 0, then the one for which it is 1"
    elif len(labels) == wanted + 1 and first.lower() == "background":
        advice = f"The first, {first!r}, stands for no class here: remove its line"
    elif len(labels) == wanted + 1:
        advice = (
            "With one more, a list may begin with a class such as 'background' that was not trained, or with "
            f"a title: this begins with {first!r} and ends with {labels[-1].name!r}. Remove what is no class"
        )
    elif len(labels) == wanted - 1:
        advice = "With one too few, the model may have 'background' as its first or last class: if so, add it"
    else:
        advice = "Bring the labels that belong to this model"
    outputs = "one output for two classes" if single else f"{columns:,} outputs"
    raise LabelsInvalid(path, f"it has {len(labels):,} labels, and the model has {outputs}", advice)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise LabelsInvalid(path, f"it cannot be read ({error.strerror or error})", ADVICE) from error
    if len(data) > MAX_BYTES:
        raise LabelsInvalid(path, f"it is larger than {MAX_BYTES:,} bytes", ADVICE)
    # Windows's editors write UTF-16 with a byte order mark.
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 (byte {error.start:,})"
        raise LabelsInvalid(path, reason, "Save it as UTF-8") from error
    if "\0" in text:
        raise LabelsInvalid(path, "it is no text file", ADVICE)
    return text


def _from_lines(text: str, path: Path) -> list[tuple[str, str]]:
    """Names in lines; if all lines begin with a number, these are the positions."""
    # Not `splitlines`, which also splits at characters that are part of a name in some scripts.
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line and any(lines):
            reason = f"line {number} is empty, and later lines are not"
            raise LabelsInvalid(path, reason, "Remove it, or write the name that belongs there")
    names = [line for line in lines if line]
    numbered = [NUMBERED.fullmatch(name) for name in names]
    found = [(int(match[1]), match[2].strip()) for match in numbered if match]
    # "7 up" is a name: numbers count as positions only if every line has one, 0, 1, 2, ... or 1, 2, ...
    if names and len(found) == len(names):
        positions = sorted(position for position, _ in found)
        if positions == list(range(len(names))):
            return [(name, name) for _, name in sorted(found)]
        if positions == list(range(1, len(names) + 1)):
            return [(name, name) for _, name in sorted(found)]
        if len(found) > 1:
            reason = f"its lines begin with numbers that are not 0 to {len(names) - 1} ({_odd(positions)})"
            raise LabelsInvalid(path, reason, "Correct the numbers, or leave all of them away")
    return [(name, name) for name in names]


def _odd(positions: list[int]) -> str:
    """What is wrong with sorted positions that are not 0, 1, 2, ..."""
    counts = Counter(positions)
    twice = next((position for position in positions if counts[position] > 1), None)
    if twice is not None:
        return f"{twice} is there {counts[twice]} times"
    return f"{next(wanted for wanted in range(positions[-1] + 1) if wanted not in counts)} is missing"


def _from_json(text: str, path: Path) -> list[tuple[str, str]]:
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        reason = f"it begins as JSON and is not valid ({error})"
        raise LabelsInvalid(path, reason, ADVICE) from error
    if isinstance(document, list):
        return [_pair(entry, path) for entry in document]
    for key in ("id2label", "label2id"):
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            return _from_object(document[key], path)
    if "architectures" in document or "model_type" in document:
        raise LabelsInvalid(
            path,
            "it is the config.json of a model and has no id2label",
            "Write the names into a file of lines",
        )
    return _from_object(document, path)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r} is there more than once")
    return document


def _from_object(document: dict[str, Any], path: Path) -> list[tuple[str, str]]:
    """{"0": "cat"} and {"0": ["n01440764", "tench"]}, or {"cat": 0}."""
    by_number = {key: value for key, value in document.items() if key.strip().isdecimal()}
    is_number = [isinstance(value, int) and not isinstance(value, bool) for value in document.values()]
    if document and all(is_number):
        entries = {int(position): name for name, position in document.items()}
        if len(entries) < len(document):
            raise LabelsInvalid(path, "two of its names have the same number", "Give each its own, from 0")
        _check_positions(sorted(entries), path)
        return [(entries[position], entries[position]) for position in sorted(entries)]
    if document and len(by_number) == len(document):
        numbered = {int(key): value for key, value in document.items()}
        if len(numbered) < len(document):
            raise LabelsInvalid(path, "two of its keys are the same number", "Give each its own, from 0")
        _check_positions(sorted(numbered), path)
        return [_pair(numbered[position], path) for position in sorted(numbered)]
    known = ", ".join(list(document)[:5]) or "none"
    raise LabelsInvalid(
        path, f"it is a JSON object whose keys ({known}) are neither numbers nor names of numbers", ADVICE
    )


def _check_positions(positions: list[int], path: Path) -> None:
    if positions != list(range(len(positions))):
        reason = f"its numbers are not 0 to {len(positions) - 1} ({_odd(positions)})"
        raise LabelsInvalid(path, reason, "Number the classes in the order of the model's outputs, from 0")


def _pair(entry: object, path: Path) -> tuple[str, str]:
    """Id and name of an entry: a name, or Keras's pair of both."""
    if isinstance(entry, str):
        return entry, entry
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
        return entry[0], entry[1]
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        # The digits 0 to 9, for example.
        return str(entry), str(entry)
    raise LabelsInvalid(path, f"one of its entries is {json.dumps(entry)[:100]}, not a name", ADVICE)


def _checked(text: str, path: Path) -> str:
    text = text.strip()
    if not text:
        raise LabelsInvalid(path, "one of its names is empty", "Write the name that belongs there")
    if len(text) > MAX_NAME:
        raise LabelsInvalid(path, f"one of its names has {len(text):,} characters: {text[:50]}...", ADVICE)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise LabelsInvalid(path, f"the name {text!r} contains control characters", ADVICE)
    return text


def _unique(pairs: list[tuple[str, str]]) -> list[Label]:
    """Appends the id, or the position of a class without one, to a name that several classes have."""
    counts = Counter(name for _, name in pairs)
    distinct = Counter(pairs)
    labels, taken = [], {name for name, count in counts.items() if count == 1}
    for position, (id, name) in enumerate(pairs):
        # The id of a class without one is its name.
        id = id if distinct[id, name] == 1 and (id != name or counts[name] == 1) else str(position)
        unique = name if counts[name] == 1 else f"{name} ({id})"
        # Somebody's "crane (134)" may be there already.
        while counts[name] > 1 and unique in taken:
            unique += "*"
        taken.add(unique)
        labels.append(Label(id, unique))
    return labels
