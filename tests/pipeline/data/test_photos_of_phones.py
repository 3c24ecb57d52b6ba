"""Photos from phones, scanners and messengers: formats, file names, and near-duplicates."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.data import conversion
from pipeline.data.near_duplicates import MAX_COMPARED, PerceptualHash, find_near_duplicates
from pipeline.errors import DataRefused
from pipeline.stages import prepare
from serving.errors import ImageDamaged, ImageTooManyPixels
from serving.model import decoder
from serving.model.decoder import Preprocessing, decode
from serving.model.formats import image_file
from tests.pipeline.projects import ROOT, TINY
from tests.pipeline.sample_images import write_class_folders

PREPROCESSING = Preprocessing(size=32, crop=1.0)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/tiny with twelve valid images for each of three classes, in an otherwise empty project."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    return write_class_folders(Path("data/raw/tiny"), images=12)


def set_prepare_params(**values: object) -> None:
    document = yaml.safe_load(TINY)
    document["tiny"]["prepare"] |= values
    Path("params.yaml").write_text(yaml.safe_dump(document))


def scene(seed: int, width: int = 300, height: int = 200) -> Image.Image:
    """A smooth image with the structure of a photo."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def prepared() -> set[str]:
    folder = Path("data/prepared/tiny")
    return {"/".join(path.relative_to(folder).parts[1:]) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2024-05-01 at 9.41.00\u202fAM.png",
        "Bildschirmfoto\u00a02024.png",
        "family \U0001f468\u200d\U0001f469\u200d\U0001f467.png",
        "heart \u2764\ufe0f.png",
        "\u200eWhatsApp.png",
        "logo \uf8ff.png",
        "soft\u00adhyphen.png",
        "\u3000.png",
        "cafe\u0301.png",
    ],
)
def test_names_that_systems_write_are_taken(raw: Path, name: str) -> None:
    (raw / "red/001.png").rename(raw / "red" / name)
    prepare.main("tiny")
    assert f"red/{name}" in prepared()


@pytest.mark.parametrize("name", ["a\nb.png", "a\tb.png", "a\x1b[31m.png", "a\u2028b.png", "a\x85b.png"])
def test_names_that_break_lines_are_refused(raw: Path, name: str) -> None:
    (raw / "red/001.png").rename(raw / "red" / name)
    with pytest.raises(DataRefused, match="cannot be written down; rename it"):
        prepare.main("tiny")


def test_eighty_photos_of_one_kind_get_one_advice(raw: Path) -> None:
    for number in range(80):
        scene(number, 20, 20).save(raw / f"red/scan{number}.tif")
    with pytest.raises(DataRefused) as error:
        prepare.main("tiny")
    head, *lines = str(error.value).splitlines()
    assert "80 problems" in head
    assert len(lines) == 1
    for words in ("and 77 more", "TIFF is not read", "prepare.convert: [TIFF]"):
        assert words in lines[0]


def test_reasons_that_differ_in_numbers_are_told_once(raw: Path) -> None:
    for number in range(2, 7):
        scene(number, number, number).save(raw / f"red/dot{number}.png")
    (raw / "red/text.jpg").write_text("no picture")
    with pytest.raises(DataRefused) as error:
        prepare.main("tiny")
    assert len(str(error.value).splitlines()) == 3


FORMATS = {"TIFF": "tif", "HEIC": "heic", "AVIF": "avif"}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_converted_on_request(raw: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    if name == "HEIC" and not image_file.HEIC_SUPPORTED:
        pytest.skip("pillow-heif is not installed")
    file = f"red/IMG.{FORMATS[name]}"
    scene(1).save(raw / file, quality=95)
    set_prepare_params(convert=[name])
    prepare.main("tiny")
    (found,) = Path("data/prepared/tiny").glob(f"*/{file}.png")
    with Image.open(found) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (300, 200), "RGB")
        assert np.abs(np.asarray(image, float) - np.asarray(scene(1), float)).mean() < 4
    assert f"converted to PNG: 1 {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
def test_what_is_read_is_taken_as_it_is(raw: Path, name: str) -> None:
    if name not in decoder.FORMATS:
        pytest.skip(f"{name} is not read here")
    file = f"red/IMG.{FORMATS[name]}"
    scene(1).save(raw / file)
    prepare.main("tiny")
    (found,) = Path("data/prepared/tiny").glob(f"*/{file}")
    assert found.read_bytes() == (raw / file).read_bytes()


def test_without_its_package_heic_gets_one_advice(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(80):
        (raw / f"red/IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(number))
    formats = tuple(name for name in decoder.FORMATS if name != "HEIC")
    monkeypatch.setattr("pipeline.data.images.FORMATS", formats)
    monkeypatch.setattr(decoder, "FORMATS", formats)
    monkeypatch.setattr(conversion, "HEIC_SUPPORTED", False)
    for convert in ([], ["HEIC"]):
        set_prepare_params(convert=convert)
        with pytest.raises(DataRefused) as error:
            prepare.main("tiny")
        (line,) = str(error.value).splitlines()[1:]
        assert "pip install pillow-heif" in line


def tiff(image: Image.Image, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, "TIFF", **options)
    return target.getvalue()


def modes() -> dict[str, Callable[[], bytes]]:
    """TIFF variants that scanners, microscopes and print shops write, all of about the same image."""
    grey = scene(1).convert("L")
    levels = np.asarray(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "RGB": lambda: tiff(scene(1)),
        "16 bits": lambda: tiff(Image.fromarray(levels.astype(np.uint16) * 257)),
        "32 bits": lambda: tiff(Image.fromarray(levels.astype(np.int32) * 1000)),
        "float": lambda: tiff(Image.fromarray(levels.astype(np.float32) / 255)),
        "CMYK": lambda: tiff(scene(1).convert("CMYK")),
        "palette": lambda: tiff(scene(1).convert("P", palette=Image.Palette.ADAPTIVE)),
        "transparent": lambda: tiff(scene(1).convert("RGBA")),
        "LZW": lambda: tiff(scene(1), compression="tiff_lzw"),
        "two pages": lambda: tiff(scene(1), save_all=True, append_images=[scene(2)]),
        "turned": lambda: tiff(scene(1).transpose(Image.Transpose.ROTATE_90), exif=turned),
    }


@pytest.mark.parametrize("kind", modes())
def test_kinds_of_tiff(kind: str) -> None:
    found, expected = (
        Image.fromarray(decode(conversion.to_png(data, "TIFF"), PREPROCESSING)).convert("L")
        for data in (modes()[kind](), tiff(scene(1)))
    )
    assert np.corrcoef(np.asarray(found).ravel(), np.asarray(expected).ravel())[0, 1] > 0.95


def test_what_is_converted_is_below_the_limit_of_the_decoder() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    data = conversion.to_png(tiff(Image.fromarray(noise)), "TIFF")
    assert len(data) < decoder.MAX_BYTES
    assert decode(data, PREPROCESSING).shape == (32, 32, 3)


def test_a_tiff_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MAX_PIXELS", 50_000)
    with pytest.raises(ImageTooManyPixels):
        conversion.to_png(tiff(scene(1)), "TIFF")


@pytest.mark.parametrize("length", [8, 60, 1000])
def test_a_broken_tiff_is_a_sentence(length: int) -> None:
    with pytest.raises(ImageDamaged):
        conversion.to_png(tiff(scene(1))[:length], "TIFF")


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_one_photo_in_two_qualities_and_classes_is_told(
    raw: Path, capsys: pytest.CaptureFixture[str], quality: int
) -> None:
    scene(5).save(raw / "red/a.jpg", quality=98)
    scene(5).resize((150, 100)).save(raw / "blue/b.jpg", quality=quality)
    prepare.main("tiny")
    assert "1 pairs of two classes look like one picture, saved twice: blue/b.jpg and red/a.jpg" in (
        capsys.readouterr().out
    )


def test_other_photos_are_not_told(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        scene(number).save(raw / f"{('red', 'blue')[number % 2]}/{number}.jpg")
    prepare.main("tiny")
    assert "look like one picture" not in capsys.readouterr().out


def test_pictures_that_all_look_alike_do_not_cost_the_square_of_their_number() -> None:
    blank = PerceptualHash(0, bytes(256))
    found = list(find_near_duplicates([blank] * 5000))
    assert 0 < len(found) <= MAX_COMPARED**2 / 2


def test_a_converted_photo_replaces_no_other(raw: Path) -> None:
    for label in ("red", "green", "blue"):
        for split, numbers in (("train", range(1, 9)), ("test", range(9, 12))):
            (raw / split / label).mkdir(parents=True)
            for path in [path for n in numbers for path in (raw / label).glob(f"{n:03d}.*")]:
                path.rename(raw / split / label / path.name)
        shutil.rmtree(raw / label)
    scene(1).save(raw / "train/red/a.tif")
    scene(2).save(raw / "train/red/a.tif.png")
    set_prepare_params(convert=["TIFF"], valid=0.0)
    with pytest.raises(FileExistsError, match=r"a\.tif\.png"):
        prepare.main("tiny")
    assert not Path("data/prepared/tiny").exists()


def test_names_are_printed_on_terminals_that_cannot_show_them(raw: Path) -> None:
    (raw / "red").rename(raw / "\u732b")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.stages.prepare", "tiny"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u732b" in done.stdout


def test_the_frames_of_films_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [PerceptualHash(number % 20, bytes(256)) for number in range(2000)]
    monkeypatch.setattr("pipeline.data.near_duplicates.MAX_PAIRS", 500)
    assert len(list(find_near_duplicates(frames))) == 500


def test_a_pipe_is_no_photo(raw: Path) -> None:
    os.mkfifo(raw / "red/pipe.jpg")
    with pytest.raises(DataRefused, match="pipe"):
        prepare.main("tiny")


def test_a_folder_of_a_phone_ends_in_a_sentence(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Screenshots, ignored files and Live Photo videos are accepted; problems are grouped by kind."""
    (raw / "red/001.png").rename(raw / "red/Screenshot at 9.41\u202fAM.png")
    for number in range(40):
        scene(number).save(raw / f"red/IMG_{number}.JPG", "JPEG")
        (raw / f"red/IMG_{number}.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(20 + number))
        (raw / f"red/IMG_{number}.AAE").write_bytes(b"<plist/>")
    prepare.main("tiny")
    assert "40 .AAE, 40 films of Live Photos" in capsys.readouterr().out
    for number in range(40):
        (raw / f"red/VID_{number}.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(20 + number))
        (raw / f"red/RAW_{number}.DNG").write_bytes(b"II*\0" + bytes(20 + number))
    (raw / "red/more.zip").write_bytes(b"PK\3\4" + bytes(40))
    (raw / "red/labels.csv").write_text("file,label")
    with pytest.raises(DataRefused) as error:
        prepare.main("tiny")
    _, *lines = str(error.value).splitlines()
    assert len(lines) == 4
    for words in ("a video", "a camera's raw file is not read", "unpack it", "a table"):
        assert words in str(error.value)
