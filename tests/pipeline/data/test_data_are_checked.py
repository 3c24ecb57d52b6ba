"""`prepare` copies valid images unchanged, and rejects a folder with a list of all problems."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.data.folder_tree import class_names
from pipeline.data.labelled_photos import scan_folder
from pipeline.errors import DataRefused, ModelUnknown
from pipeline.files import sha256_of
from pipeline.stages import prepare
from tests.pipeline.projects import TINY
from tests.pipeline.sample_images import draw_image, write_class_folders


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/tiny with twelve valid images for each of three classes, in an otherwise empty project."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    return write_class_folders(tmp_path / "data/raw/tiny", images=12)


def prepared() -> set[str]:
    folder = Path("data/prepared/tiny")
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refusals() -> dict[str, str]:
    with pytest.raises(DataRefused) as error:
        prepare.main("tiny")
    return dict(error.value.refusals)


def test_images_keep_their_bytes_and_names(raw: Path) -> None:
    prepare.main("tiny")
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    found = prepared() - {"report.json"}
    assert len(found) == sum(report["images"].values()) == 36
    for name in found:
        split, label, file = name.split("/")
        assert split in {"train", "valid", "test"}
        assert Path("data/prepared/tiny", name).read_bytes() == (raw / label / file).read_bytes()


def test_splits_are_disjoint_and_each_class_is_in_all(raw: Path) -> None:
    prepare.main("tiny")
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    assert all(min(counts.values()) > 0 for counts in report["classes"].values())
    files = [name.split("/", 1)[1] for name in prepared() - {"report.json"}]
    assert len(files) == len(set(files))


def test_the_same_data_give_the_same_report(raw: Path) -> None:
    prepare.main("tiny")
    first = Path("data/prepared/tiny/report.json").read_bytes()
    prepare.main("tiny")
    assert Path("data/prepared/tiny/report.json").read_bytes() == first


def test_hidden_files_are_no_data(raw: Path) -> None:
    (raw / "red/.DS_Store").write_bytes(b"finder")
    (raw / ".cache").mkdir()
    (raw / ".cache/x").write_bytes(b"cache")
    (raw / "notes.txt").write_text("beside the classes")
    prepare.main("tiny")
    assert len(prepared()) == 37


# Files besides photos in users' folders: content, and the reason that is shown.
TAKEOUT = b'{"title": "x.jpg", "photoTakenTime": {}, "geoData": {}}'
IGNORED = {
    "Thumbs.db": (b"\xd0\xcf\x11\xe0", "Thumbs.db"),
    "red/thumbs.DB": (b"x", "Thumbs.db"),
    "red/ehthumbs.db": (b"x", "ehthumbs.db"),
    "red/desktop.ini": (b"[.ShellClassInfo]", "desktop.ini"),
    "red/Desktop.ini": (b"", "desktop.ini"),
    "red/.DS_Store": (b"Bud1", ".DS_Store"),
    ".DS_Store": (b"Bud1", ".DS_Store"),
    "red/._001.png": (b"\0\x05\x16\x07", "._ of macOS"),
    "__MACOSX/red/._001.png": (b"\0\x05\x16\x07", "__MACOSX"),
    "__MACOSX/._red": (b"\0\x05\x16\x07", "__MACOSX"),
    "red/Icon\r": (b"", "Icon"),
    "red/IMG_1.AAE": (b"<plist/>", ".AAE"),
    "red/IMG_1.jpg.xmp": (b"<x:xmpmeta/>", ".xmp"),
    "red/@eaDir/001.png/SYNOPHOTO_THUMB_M.jpg": (b"a thumbnail", "@eaDir"),
    "@eaDir/red/x.jpg": (b"a thumbnail", "@eaDir"),
    "red/.@__thumb/001.png": (b"a thumbnail", "hidden"),
    ".Trashes/501/old.jpg": (b"an old one", ".Trashes"),
    "#recycle/old.jpg": (b"an old one", "#recycle"),
    "$RECYCLE.BIN/x/old.jpg": (b"an old one", "$RECYCLE.BIN"),
    "System Volume Information/x": (b"x", "System Volume Information"),
    "red/.picasa.ini": (b"[Picasa]", ".picasa.ini"),
    "red/Picasa.ini": (b"[Picasa]", "Picasa.ini"),
    "red/~$list.docx": (b"x", "~$ of Office"),
    "red/.IMG_2.jpg.icloud": (b"bplist00", ".icloud"),
    "red/placeholder": (b"", "empty"),
    "red/IMG_3.jpg.json": (b"{}", "JSON of Takeout"),
    "red/IMG_4.HEIC.supplemental-metadata.json": (b"{}", "JSON of Takeout"),
    "red/IMG_5.jpg.suppl(1).json": (b"{}", "JSON of Takeout"),
    "red/metadata.json": (b"{}", "JSON of Takeout"),
    "red/Metadaten.json": (TAKEOUT, "JSON of Takeout"),
}


def write_ignored(raw: Path, files: Iterable[str]) -> Counter[str]:
    """Writes ignored files into a folder of photos; returns their expected reasons."""
    for name in files:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(IGNORED[name][0])
    return Counter(IGNORED[name][1] for name in files)


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_files_are_recognised(raw: Path, name: str) -> None:
    write_ignored(raw, [name])
    assert scan_folder(raw).ignored == {IGNORED[name][1]: 1}
    assert class_names(raw) == ["blue", "green", "red"]
    assert len(scan_folder(raw).photos) == 36


def test_ignored_files_do_not_change_the_result(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main("tiny")
    clean, report = prepared(), Path("data/prepared/tiny/report.json").read_bytes()
    capsys.readouterr()
    counts = write_ignored(raw, IGNORED)
    prepare.main("tiny")
    assert prepared() == clean
    assert Path("data/prepared/tiny/report.json").read_bytes() == report
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "passed over" in line]
    assert note.startswith("prepare tiny: passed over, for they are no photos: 5 JSON of Takeout, 2 ")
    assert sum(int(number) for number in re.findall(r"(\d+) ", note)) == sum(counts.values()) == len(IGNORED)


def test_without_ignored_files_there_is_no_note(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main("tiny")
    assert "passed over" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("red/notes.txt", b"text"),
        ("red/clip.mp4", b"\0\0\0\x18ftypmp42"),
        ("red/labels.json", b'{"title": "cats", "images": []}'),
        ("red/broken.json", b"{"),
        ("red/empty.jpg", b""),
        ("red/EMPTY.HEIC", b""),
        ("red/thumbs.db.jpg", b"text"),
        ("red/Icon", b"text"),
        ("red/desktop.ini.txt", b"text"),
    ],
)
def test_other_files_are_rejected(raw: Path, name: str, data: bytes) -> None:
    (raw / name).write_bytes(data)
    assert set(refusals()) == {name}


@pytest.mark.parametrize("name", ["Icon", "desktop.ini", "x.aae", "lost", "__macosx2", "~$x"])
def test_a_class_may_have_a_similar_name(raw: Path, name: str) -> None:
    (raw / "red").rename(raw / name)
    assert name in class_names(raw)
    assert {photo.label for photo in scan_folder(raw).photos} == {"blue", "green", name}


def test_a_repeated_picture_counts_once(raw: Path) -> None:
    shutil.copyfile(raw / "red/001.png", raw / "red/again.png")
    prepare.main("tiny")
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    assert report["repeated"] == {"red/again.png": "red/001.png"}
    assert sum(report["images"].values()) == 36


def test_one_picture_with_two_labels_is_refused(raw: Path) -> None:
    shutil.copyfile(raw / "red/001.png", raw / "green/wrong.png")
    found = refusals()
    assert set(found) == {"red/001.png", "green/wrong.png"}
    assert "several labels" in found["green/wrong.png"]


def test_everything_wrong_is_listed_at_once(raw: Path) -> None:
    (raw / "red/empty.jpg").write_bytes(b"")
    (raw / "red/text.jpg").write_text("<html>no picture</html>")
    whole = (raw / "red/000.jpg").read_bytes()
    (raw / "red/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (raw / "red/nowhere.jpg").symlink_to("missing")
    for path in sorted((raw / "green").iterdir())[3:]:
        path.unlink()
    found = refusals()
    assert set(found) == {"red/empty.jpg", "red/text.jpg", "red/cut.jpg", "red/nowhere.jpg", "green/"}
    assert "zero bytes" in found["red/empty.jpg"]
    assert "3 different images" in found["green/"]


def test_an_empty_class_folder_is_refused(raw: Path) -> None:
    (raw / "yellow").mkdir()
    (raw / "linked").symlink_to(raw / "red")
    assert set(refusals()) == {"yellow/", "linked/"}


def test_a_name_that_cannot_be_written_is_refused(raw: Path) -> None:
    shutil.copyfile(raw / "red/001.png", os.fsencode(raw) + b"/red/\xff.png")
    assert "cannot be written" in "".join(refusals().values())


@pytest.fixture
def positions(raw: Path) -> list[float]:
    """Keeps one image of each class; returns the positions (see split.py) of the three, in order."""
    for path in sorted(raw.rglob("*.*")):
        if path.stem != "001":
            path.unlink()
    return sorted(int(sha256_of(path), 16) / 2**256 for path in raw.rglob("*.*"))


def untrained(test: float, valid: float) -> None:
    """Writes params of a model without training, with these shares."""
    document = yaml.safe_load(TINY)
    document["tiny"] |= {
        "prepare": document["tiny"]["prepare"] | {"test": test, "valid": valid, "min_per_class": 1},
        "build": {"method": "pretrained", "size": 224, "crop": 1.0, "alpha": 1.0},
    }
    Path("params.yaml").write_text(yaml.safe_dump(document))


def test_where_nothing_is_trained_the_only_image_of_a_class_may_validate(positions: list[float]) -> None:
    test = (positions[1] + positions[2]) / 2
    untrained(test, 1 - test)
    prepare.main("tiny")
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    assert report["images"] == {"train": 0, "valid": 1, "test": 2}


def test_not_all_images_may_validate(positions: list[float]) -> None:
    untrained(positions[0] / 2, 1 - positions[0] / 2)
    assert refusals() == {"(all)": "no image is left to test; prepare.test is too small a share"}


def test_where_something_may_train_the_only_image_is_missed(positions: list[float]) -> None:
    untrained((positions[1] + positions[2]) / 2, 0.0)
    found = sorted(refusals().values())
    assert found == ["no image is left to test it; add some", *2 * ["no image is left to train it; add some"]]


def test_a_single_class_is_rejected(raw: Path) -> None:
    shutil.rmtree(raw / "green")
    shutil.rmtree(raw / "blue")
    assert "two classes" in refusals()["(all)"]


def test_a_refusal_leaves_the_former_result(raw: Path) -> None:
    prepare.main("tiny")
    before = prepared()
    (raw / "red/text.jpg").write_text("no picture")
    assert refusals()
    assert prepared() == before
    assert [path.name for path in Path("data/prepared").iterdir()] == ["tiny"]


def test_a_new_photo_moves_no_other(raw: Path) -> None:
    prepare.main("tiny")
    before = prepared()
    draw_image(raw / "red/new.png", "red", seed=77)
    prepare.main("tiny")
    added = prepared() - before
    assert before <= prepared()
    assert [name.split("/", 1)[1] for name in added] == ["red/new.png"]


def test_look_alikes_across_splits_are_reported(raw: Path) -> None:
    # Saving a JPEG again changes its pixels but not its appearance.
    across, down = np.meshgrid(np.arange(90), np.arange(90))
    image = Image.fromarray(np.stack([across * 2, down * 2, (across + down) % 180], axis=2).astype(np.uint8))
    for quality in range(70, 95, 3):
        image.save(raw / f"red/copy{quality}.jpg", quality=quality)
    prepare.main("tiny")
    report = json.loads(Path("data/prepared/tiny/report.json").read_text())
    assert report["look_alikes_across_splits"]["pairs"] > 0


def test_a_folder_that_is_not_there_is_named(raw: Path) -> None:
    shutil.rmtree(raw)
    with pytest.raises(ModelUnknown, match="data/raw/tiny"):
        prepare.main("tiny")
