"""What a run says of each image: the server's prediction, or why there is none."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.model.decoder import MAX_BYTES
from serving.model.predictor import Predictor
from tests.scoring.workspace import rows, score
from tests.serving.bundles import COLOURS, CONFIDENCE_DOCUMENT, one_colour_png
from tests.serving.images import CORPUS, black_png, encode_image

PHOTO = encode_image(Image.new("RGB", (64, 48), "green"), "JPEG")
REFUSED = {
    "bomb.png": (black_png(40_000), "image_too_many_pixels"),
    "empty.jpg": (b"", "image_empty"),
    "notes.txt": (b"no image", "image_unrecognised"),
    "small.png": (encode_image(Image.new("RGB", (4, 4)), "PNG"), "image_too_small"),
    "truncated.jpg": (PHOTO[: len(PHOTO) // 2], "image_truncated"),
}
STRANGE_NAMES = ["a b.jpg", "two\nlines.jpg", "ü.jpg", "tab\t.jpg", "quote'\".jpg"]
NOT_UTF8 = b"caf\xe9.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all formats, and all kinds of files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    for name, (data, _) in CORPUS.items():
        (folder / f"valid-{name.replace('/', '-')}").write_bytes(data)
    for name, (data, _) in REFUSED.items():
        (folder / name).write_bytes(data)
    for name in STRANGE_NAMES:
        (folder / name).write_bytes(PHOTO)
    Path(os.fsdecode(os.fsencode(folder) + b"/" + NOT_UTF8)).write_bytes(PHOTO)
    with (folder / "large.bmp").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("nothing.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / ".DS_Store").write_bytes(b"Finder")
    (folder / "deeper/and").mkdir(parents=True)
    (folder / "deeper/and/red.png").write_bytes(one_colour_png(COLOURS["red"]))
    return folder


@pytest.fixture(scope="module")
def out(workspace: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result for that folder."""
    out = tmp_path_factory.mktemp("result") / "out"
    done = score(workspace, str(folder), "--out", str(out), "--explain")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def by_path(out: Path) -> dict[str, dict[str, Any]]:
    """The rows by their path."""
    return {row["path"]: row for row in rows(out)}


def test_every_file_has_one_row(folder: Path, out: Path) -> None:
    files = [path for path in folder.rglob("*") if not path.is_dir() and path.name != ".DS_Store"]
    found = [row["path"] for row in rows(out)]
    assert len(found) == len(set(found)) == len(files)
    assert {"two\nlines.jpg", "caf\\xe9.jpg", "deeper/and/red.png"} <= set(found)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_image_has_its_code(by_path: dict[str, dict[str, Any]], name: str) -> None:
    data, code = REFUSED[name]
    row = by_path[name]
    assert row["error_code"] == code
    assert row["error"]
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert [row[column] for column in ("label", "score", "top5", "label_set", "familiar")] == [None] * 5


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dangling.jpg", "file_missing"),
        ("large.bmp", "image_too_large"),
        ("loop.jpg", "file_unreadable"),
        ("pipe.jpg", "file_unreadable"),
    ],
)
def test_unreadable_file_has_its_code(by_path: dict[str, dict[str, Any]], name: str, code: str) -> None:
    assert (by_path[name]["error_code"], by_path[name]["sha256"]) == (code, None)


def test_predictions_are_those_of_the_server(
    workspace: Path, folder: Path, by_path: dict[str, dict[str, Any]]
) -> None:
    predictor = Predictor.open(workspace / "models/colours/bundle")
    scored = {path: row for path, row in by_path.items() if row["error_code"] is None and "\\x" not in path}
    assert len(scored) == len(CORPUS) + len(STRANGE_NAMES) + 1
    for path, row in scored.items():
        data = (folder / path).read_bytes()
        best = predictor.top(predictor.classify(data))
        assert [(each["label"], each["id"], each["score"]) for each in row["top5"]] == [
            (each.label, each.id, each.score) for each in best
        ]
        assert (row["label"], row["score"]) == (best[0].label, best[0].score)
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["digest"] == predictor.bundle.digest


def test_reliability_and_explanation_are_in_the_row(by_path: dict[str, dict[str, Any]]) -> None:
    row = by_path["deeper/and/red.png"]
    assert (row["label"], row["label_set"], row["familiar"]) == ("red", ["red"], True)
    assert row["explanation"]["method"] == "cam"
    assert np.array(row["explanation"]["values"]).shape == (8, 8)
    # The mean of the map is the logit of the class: steepness, for a pure colour.
    assert np.mean(row["explanation"]["values"]) == pytest.approx(4.0, abs=0.01)


def test_summary_counts_the_codes(out: Path, folder: Path) -> None:
    summary = json.loads((out / "run.json").read_text())
    assert summary["images"] == len(rows(out))
    assert summary["refused"] == len(REFUSED) + 4
    assert summary["errors"]["file_unreadable"] == 2
    assert sum(summary["errors"].values()) == summary["refused"]
    assert summary["plan"]["options"] == {
        "explain": True,
        "level": CONFIDENCE_DOCUMENT["label_sets"][0]["level"],
    }
    for name, digest in summary["parts"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("allowed", "code"), [(len(REFUSED) + 4, 0), (len(REFUSED) + 3, 3)])
def test_too_many_refused_images_give_exit_code_3(
    workspace: Path, folder: Path, out: Path, allowed: int, code: int
) -> None:
    done = score(workspace, str(folder), "--out", str(out), "--explain", "--max-errors", str(allowed))
    assert done.returncode == code
    assert f"{len(REFUSED) + 4} refused" in done.stdout
