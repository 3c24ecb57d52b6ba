"""Layouts of photo folders: splits are used, classes counted, and unclear layouts explained."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.data.folder_tree import split_from_name
from pipeline.errors import DataRefused, FolderLayoutUnclear
from pipeline.stages import prepare
from tests.pipeline.projects import TINY
from tests.pipeline.sample_images import draw_image, write_class_folders

SCREEN_LINES = 24


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data/raw/tiny in an otherwise empty project."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    Path("data/raw/tiny").mkdir(parents=True)
    return Path("data/raw/tiny")


def set_prepare_params(**values: object) -> None:
    document = yaml.safe_load(TINY)
    document["tiny"]["prepare"] |= values
    Path("params.yaml").write_text(yaml.safe_dump(document))


def write_photos(folder: Path, images: int, begin: int = 0) -> None:
    """Writes different photos of the classes cat (red) and dog (blue)."""
    for label, colour in (("cat", "red"), ("dog", "blue")):
        for number in range(images):
            seed = {"cat": 10_000, "dog": 20_000}[label] + begin + number
            draw_image(folder / label / f"{number}.png", colour, seed)


def counts() -> dict[str, dict[str, int]]:
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    classes: dict[str, dict[str, int]] = report["classes"]
    return classes


def files(split: str) -> set[str]:
    folder = Path("data/prepared/tiny", split)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


NAMES = {
    "train": ["train", "Train", "TRAINING", "training_set", "train-images", "seg_train", "train1"],
    "valid": ["val", "valid", "Validation", "VAL", "validation_set", "val2"],
    "test": ["test", "Testing", "test_set", "seg_test", "TEST", "test1"],
}


@pytest.mark.parametrize(("split", "name"), [(split, name) for split in NAMES for name in NAMES[split]])
def test_names_of_splits(split: str, name: str) -> None:
    assert split_from_name(name) == split


@pytest.mark.parametrize("name", ["trains", "trainer", "latest", "contest", "value", "7", "tests pilot", ""])
def test_names_of_classes(name: str) -> None:
    assert split_from_name(name) is None


def test_folders_of_a_split_are_used(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(raw / "train", 10)
    write_photos(raw / "Test", 4, begin=100)
    prepare.main("tiny")
    for found in counts().values():
        assert found["test"] == 4
        assert found["valid"] >= 1
        assert found["train"] + found["valid"] == 10
    assert files("test") == {f"{label}/{number}.png" for label in ("cat", "dog") for number in range(4)}
    printed = capsys.readouterr().out
    for words in ("by folders", "Test/ is test", "train/ is train", "valid 10% of train/", "cat", "dog"):
        assert words in printed


@pytest.mark.parametrize(
    "names", [("train",), ("train", "valid"), ("Training", "Validation", "Testing"), ("train", "test1")]
)
def test_missing_splits_are_cut_from_train(raw: Path, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        write_photos(raw / name, 8, begin=100 * place)
    prepare.main("tiny")
    for found in counts().values():
        assert min(found.values()) > 0
        assert sum(found.values()) == 8 * len(names)
    given = {split_from_name(name) for name in names} - {"train"}
    assert all(found[split] == 8 for found in counts().values() for split in given if split)


def test_a_split_can_be_put_together_and_made_anew(raw: Path) -> None:
    write_photos(raw / "train", 8)
    write_photos(raw / "test", 8, begin=100)
    set_prepare_params(split="content")
    prepare.main("tiny")
    assert set(counts()) == {"cat", "dog"}
    assert {Path(name).parts[1] for name in files("train")} == {"train", "test"}
    assert sum(sum(found.values()) for found in counts().values()) == 32


def test_a_picture_in_train_and_test_is_only_tested(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(raw / "train", 10)
    write_photos(raw / "test", 6, begin=100)
    shutil.copy(raw / "test/cat/3.png", raw / "train/cat/copy.png")
    prepare.main("tiny")
    assert "cat/3.png" in files("test")
    assert "cat/copy.png" not in files("train") | files("valid")
    assert "1 of these are in two splits; they were kept in test" in capsys.readouterr().out


def test_unlabelled_test_photos_are_passed_over(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(raw / "train", 10)
    for number in range(5):
        draw_image(raw / f"test/{number}.png", "green", number)
    prepare.main("tiny")
    assert set(counts()) == {"cat", "dog"}
    assert "5 files in test/ that are in no class folder" in capsys.readouterr().out


def test_classes_may_be_called_like_a_split(raw: Path) -> None:
    write_photos(raw, 8)
    (raw / "cat").rename(raw / "train")
    prepare.main("tiny")
    assert set(counts()) == {"train", "dog"}


def flat_of_kaggle(raw: Path) -> None:
    for label in ("cat", "dog"):
        for number in range(3):
            draw_image(raw / f"train/{label}.{number}.png", "red", number)
    draw_image(raw / "test1/1.png", "red", 1)


def flat(raw: Path) -> None:
    for name in ("IMG_1.png", "IMG_2.png", "b.png"):
        draw_image(raw / name, "red", 1)


def with_table(raw: Path) -> None:
    draw_image(raw / "images/a.png", "red", 1)
    (raw / "labels.csv").write_text("file,label\na.png,cat\n")


def flat_with_table(raw: Path) -> None:
    flat(raw)
    (raw / "train.csv").write_text("b.png,cat")


def too_deep(raw: Path) -> None:
    write_photos(raw / "Pet Images", 1)


def too_deep_split(raw: Path) -> None:
    write_photos(raw / "archive/train", 1)
    write_photos(raw / "archive/test", 1)


def too_deep_twice(raw: Path) -> None:
    write_photos(raw / "training_set/training_set", 1)
    write_photos(raw / "test_set/test_set", 1)


def zipped(raw: Path) -> None:
    (raw / "dogs-vs-cats.zip").write_bytes(b"PK")


def flat_classes(raw: Path) -> None:
    for name in ("train", "test"):
        draw_image(raw / name / "a.png", "red", 1)


def twice(raw: Path) -> None:
    for name in ("train", "val", "validation"):
        write_photos(raw / name, 1)


def mixed(raw: Path) -> None:
    write_photos(raw / "train", 1)
    write_photos(raw / "test", 1)
    draw_image(raw / "pred/1.png", "red", 1)


def images_and_annotations(raw: Path) -> None:
    for number in range(3):
        for label in ("Abyssinian", "pug"):
            draw_image(raw / f"images/{label}_{number}.png", "red", number)
            draw_image(raw / f"annotations/{label}_{number}.png", "blue", number)


def masks(raw: Path) -> None:
    for name in ("Images", "masks"):
        draw_image(raw / name / "a.png", "red", 1)


UNCLEAR: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "names that begin with the class": (flat_of_kaggle, ["3 cat, 3 dog", "mkdir data/raw/tiny/train/cat"]),
    "photos without folders": (flat, ["3 photos lie in data/raw/tiny itself", "tiny/<class>/<photo>"]),
    "photos and a table": (with_table, ["labels.csv", "not from tables"]),
    "photos beside a table": (flat_with_table, ["train.csv", "not from tables"]),
    "one level too many": (too_deep, ["holds cat, dog", "mv 'data/raw/tiny/Pet Images'/* data/raw/tiny/"]),
    "a split one level too deep": (too_deep_split, ["holds test, train", "one level too many"]),
    "a folder in itself": (too_deep_twice, ["set/test_set is the only folder", "one level too many"]),
    "a zip": (zipped, ["dogs-vs-cats.zip is not unpacked", "Unpack it there"]),
    "splits without classes": (flat_classes, ["photos lie in data/raw/tiny/train", "split to content"]),
    "two folders for one split": (twice, ["val, validation all mean valid"]),
    "images and annotations": (images_and_annotations, ["3 Abyssinian, 3 pug", "mkdir data/raw/tiny/Aby"]),
    "images and masks": (masks, ["1 photos lie in data/raw/tiny/Images itself"]),
    "a split and others": (mixed, ["test, train, which look like a split", "pred", "split to folders"]),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_is_told_in_a_sentence(raw: Path, name: str) -> None:
    make, words = UNCLEAR[name]
    make(raw)
    with pytest.raises(FolderLayoutUnclear) as error:
        prepare.main("tiny")
    for word in words:
        assert word in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_others_beside_a_split_are_passed_over_on_request(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(raw / "train", 8)
    write_photos(raw / "test", 4, begin=100)
    draw_image(raw / "pred/1.png", "red", 1)
    set_prepare_params(split="folders")
    prepare.main("tiny")
    assert set(counts()) == {"cat", "dog"}
    assert "1 files in pred/" in capsys.readouterr().out


def test_annotations_beside_a_split_are_passed_over(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(raw / "train", 8)
    (raw / "train/labels.csv").write_text("file,label")
    write_photos(raw / "test", 4, begin=100)
    (raw / "annotations").mkdir()
    (raw / "annotations/1.xml").write_text("<annotation/>")
    prepare.main("tiny")
    assert set(counts()) == {"cat", "dog"}
    printed = capsys.readouterr().out
    assert "1 files in annotations/" in printed
    assert "1 files in train/" in printed


def test_a_split_inside_the_classes_is_told(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("cat", "dog"):
        write_photos(raw / "later", 8)
        for split, numbers in (("train", range(5)), ("test", range(5, 8))):
            (raw / label / split).mkdir(parents=True)
            for number in numbers:
                (raw / f"later/{label}/{number}.png").rename(raw / f"{label}/{split}/{number}.png")
        shutil.rmtree(raw / "later")
    prepare.main("tiny")
    assert set(counts()) == {"cat", "dog"}
    assert "test, train inside the class folders are not used as a split" in capsys.readouterr().out


def test_a_split_by_folders_needs_some(raw: Path) -> None:
    write_class_folders(raw, images=3)
    set_prepare_params(split="folders")
    with pytest.raises(FolderLayoutUnclear, match="none is called train, valid or test"):
        prepare.main("tiny")


@pytest.mark.parametrize("place", ["linked", "red/more"])
def test_a_link_to_a_folder_is_refused_in_a_sentence(raw: Path, place: str) -> None:
    write_class_folders(raw, images=12)
    for target in (raw.parent.resolve(), raw.resolve() / "red"):
        (raw / place).symlink_to(target)
        with pytest.raises(DataRefused, match=rf"\n  {place}/: it is a link to a folder") as error:
            prepare.main("tiny")
        assert len(error.value.refusals) == 1
        (raw / place).unlink()


def test_what_is_printed_fits_on_a_screen(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        draw_image(raw / f"class {number:02d} {'x' * 80}/a.png", "red", number)
        (raw / f"class {number:02d} {'x' * 80}/b.tif").write_bytes(b"II*\0" + bytes(60))
        (raw / f"notes {number}.txt").write_text("x")
    with pytest.raises(DataRefused) as error:
        prepare.main("tiny")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= SCREEN_LINES
    assert "60 classes" in "".join(printed)
    assert len(str(error.value).splitlines()) <= SCREEN_LINES - 4
    assert max(map(len, [*printed, *str(error.value).splitlines()])) < 500


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (("Cat", "cat"), True),
        (("cat ", "cat"), True),
        (("caf\u00e9", "cafe\u0301"), True),
        (("golden retriever", "golden_retriever"), True),
        (("\uff21", "A"), True),
        (("cat", "dog"), False),
        (("cat", "cats"), False),
        (("cafe", "caf\u00e9"), False),
    ],
)
def test_classes_that_look_like_one_are_told(
    raw: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, str], warned: bool
) -> None:
    write_photos(raw, 8)
    for label, name in zip(("cat", "dog"), names, strict=True):
        (raw / label).rename(raw / f"{name}.new")
    for name in names:
        (raw / f"{name}.new").rename(raw / name)
    prepare.main("tiny")
    assert ("are different classes" in capsys.readouterr().out) is warned
    assert set(counts()) == set(names)


def test_a_stratified_split_is_near_its_shares(raw: Path) -> None:
    write_photos(raw, 20)
    set_prepare_params(stratify=True, test=0.2)
    prepare.main("tiny")
    assert all(3 <= found["test"] <= 5 for found in counts().values())


def test_every_class_is_printed_with_its_counts(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(raw, images=12)
    prepare.main("tiny")
    printed = capsys.readouterr().out
    for label, found in counts().items():
        cells = r"\s+".join(str(found[split]) for split in ("train", "valid", "test"))
        assert re.search(rf"{label}\s+{cells}\s+12$", printed, re.MULTILINE)
    assert "by content" in printed
