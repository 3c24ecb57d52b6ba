"""Every form in which people have the names of classes, and every mistake in them."""

import json
from pathlib import Path

import pytest

from pipeline.errors import LabelsInvalid
from pipeline.model_files.labels import check_count, read_labels
from pipeline.model_files.model_file import Head
from serving.artifact.bundle import Label

IMAGENET = {"0": ["n02012849", "crane"], "1": ["n03126707", "crane"], "2": ["n01440764", "tench"]}


def labels_of(folder: Path, content: bytes) -> list[Label]:
    (folder / "labels").write_bytes(content)
    return read_labels(folder / "labels")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\ndog", ["cat", "dog"]),
        (b"cat\ndog\n\n  \n", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ["cat", "dog"]),
        ("Kätzchen\nHündchen\n".encode("utf-16"), ["Kätzchen", "Hündchen"]),
        (b"0 Cat\n1 Big Dog\n", ["Cat", "Big Dog"]),
        (b"1 Cat\n0 Dog\n", ["Dog", "Cat"]),
        (b"1: cat\n2: dog\n3: fish\n", ["cat", "dog", "fish"]),
        (b"7 up\ncola\n", ["7 up", "cola"]),
        (b"0\n1\n2\n", ["0", "1", "2"]),
        (b'["cat", "dog"]', ["cat", "dog"]),
        (b"[0, 1]", ["0", "1"]),
        (b'{"1": "dog", "0": "cat"}', ["cat", "dog"]),
        (b'{"dog": 1, "cat": 0}', ["cat", "dog"]),
        (
            b'{"10": "k", ' + b", ".join(b'"%d": "%d"' % (n, n) for n in range(10)) + b"}",
            [*"0123456789", "k"],
        ),
        (b'{"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}', ["cat", "dog"]),
        (b'{"model_type": "vit", "label2id": {"dog": 1, "cat": 0}}', ["cat", "dog"]),
        ("a\u2028b\nc\n".encode(), ["a\u2028b", "c"]),
    ],
)
def test_names_are_in_the_order_of_the_outputs(tmp_path: Path, content: bytes, names: list[str]) -> None:
    assert [label.name for label in labels_of(tmp_path, content)] == names


def test_ids_make_equal_names_unique(tmp_path: Path) -> None:
    assert labels_of(tmp_path, json.dumps(IMAGENET).encode()) == [
        Label("n02012849", "crane (n02012849)"),
        Label("n03126707", "crane (n03126707)"),
        Label("n01440764", "tench"),
    ]


def test_positions_make_equal_names_unique_where_there_are_no_ids(tmp_path: Path) -> None:
    found = labels_of(tmp_path, b"crane\ntench\ncrane\ncrane (0)\n")
    assert [label.name for label in found] == ["crane (0)*", "tench", "crane (2)", "crane (0)"]
    assert [label.id for label in found] == ["0", "tench", "2", "crane (0)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no names"),
        (b"\n \n", "no names"),
        (b"[]", "no names"),
        (b"{}", "neither numbers nor"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"0 cat\n2 dog\n", "1 is missing"),
        (b"0 cat\n0 dog\n", "0 is there 2 times"),
        (b"4 cat\n5 dog\n", "0 is missing"),
        (b'{"0": "cat", "2": "dog"}', "1 is missing"),
        (b'{"0": "cat", "00": "dog"}', "same number"),
        (b'{"0": "cat", "0": "dog"}', "more than once"),
        (b'{"cat": 1, "dog": 2}', "0 is missing"),
        (b'{"cat": 0, "dog": 0}', "same number"),
        (b'{"model_type": "vit"}', "no id2label"),
        (b'{"cat": "a"}', "neither numbers nor"),
        (b'["cat", null]', "not a name"),
        (b'["cat", ["a", 1]]', "not a name"),
        (b'["cat", ""]', "empty"),
        (b'["cat", ', "not valid"),
        (b"[" * 100_000, "not valid"),
        (b'["a\\u0007b"]', "control characters"),
        (b"caf\xe9\nbar\n", "not UTF-8"),
        (b"cat\0dog\n", "no text file"),
        (b"x" * 2000, "2,000 characters"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelsInvalid, match=message):
        labels_of(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsInvalid, match=r"names.txt cannot be used as labels: it cannot be read"):
        read_labels(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        ("background a b", 2, "'background', stands for no class"),
        ("name a b", 2, "begins with 'name' and ends with 'b'"),
        ("a", 2, "one too few"),
        ("a b c d", 2, "4 labels, and the model has 2 outputs"),
        ("a", 1, "one output for two classes.* first the class for which the output is 0"),
        ("a b c", 1, "one output for two classes"),
        ("", 3, "0 labels"),
    ],
)
def test_another_number_of_labels_than_classes(names: str, columns: int, message: str) -> None:
    with pytest.raises(LabelsInvalid, match=message):
        check_count([Label(name, name) for name in names.split()], columns, None, Path("names.txt"))


@pytest.mark.parametrize(("columns", "head"), [(2, "softmax"), (2, None), (1, "sigmoid"), (1, None)])
def test_the_right_number_of_labels(columns: int, head: Head | None) -> None:
    check_count([Label("a", "a"), Label("b", "b")], columns, head, Path("names.txt"))
