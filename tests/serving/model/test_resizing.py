"""Crop, squash and pad, for inputs of any shape, with and without antialiasing, however the image is stored.

`tests/pipeline/network/test_resizing_as_keras.py` compares the pixels with Keras's.
"""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from serving.errors import ImageTooManyPixels
from serving.model.decoder import MAX_PIXELS, decode
from serving.model.preprocessing import Filter, Preprocessing, Resize
from serving.model.resizing import draft_size, resize
from tests.serving.images import BLACK, BLUE, CORPUS, RED, encode_image

RESIZES: tuple[Resize, ...] = ("crop", "squash", "pad")
FILTERS: tuple[Filter, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
# Height and width of inputs: smaller and larger than the images, flat, tall and square.
TARGETS = [(20, 28), (64, 40), (97, 211), (33, 33)]
# Width and height of images, among them odd ones, whose crops and bars do not fall on whole pixels.
SIZES = [(61, 47), (50, 120), (33, 200)]
ORIENTATIONS = range(1, 9)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Random pixels without extremes: Pillow clips what overshoots between its passes."""
    values = np.random.default_rng(width * height).integers(64, 192, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """The image with an EXIF orientation that is not applied to its pixels yet."""
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("resizing", RESIZES)
@pytest.mark.parametrize("antialias", [True, False])
def test_image_may_be_turned_before_or_after(orientation: int, resizing: Resize, antialias: bool) -> None:
    for size, (height, width), kind in ((s, t, f) for s in SIZES for t in TARGETS for f in FILTERS):
        crop = 0.83 if resizing == "crop" else 1.0
        preprocessing = Preprocessing(height, width, 3, resizing, crop, kind, antialias)
        image = stored(noise(*size), orientation)
        expected = resize(ImageOps.exif_transpose(image), 1, preprocessing)
        found = resize(image, orientation, preprocessing)
        assert found.shape == expected.shape == preprocessing.shape
        difference = np.abs(found.astype(int) - expected).max()
        # Pillow rounds between its passes over columns and rows, and these change places.
        assert difference <= (2 if preprocessing.averages else 0), (size, preprocessing)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_files_are_turned_too(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    # Red on top, blue below, as a camera would store it.
    upright = Image.new("RGB", (160, 240), RED)
    upright.paste(BLUE, (0, 120, 160, 240))
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    pixels = ImageOps.exif_transpose(stored(upright, inverse))
    data = encode_image(pixels, kind, exif=exif, quality=95)
    for resizing in RESIZES:
        found = decode(data, Preprocessing(30, 20, 3, resizing, 1.0, "bilinear", antialias=False)).astype(int)
        assert found.shape == (30, 20, 3)
        assert np.abs(found[:13] - RED).max() < 12
        assert np.abs(found[17:] - BLUE).max() < 12


@pytest.mark.parametrize(("height", "width"), TARGETS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("size", [*SIZES, (3000, 61), (61, 3000)])
def test_pad_is_the_image_with_black_bars(
    size: tuple[int, int], kind: Filter, antialias: bool, height: int, width: int
) -> None:
    image = noise(*size)
    # Bars as wide as Keras makes them.
    bars = (
        max(0, int(image.height * width / height) - image.width) // 2,
        max(0, int(image.width * height / width) - image.height) // 2,
    )
    padded = Image.new("RGB", (image.width + 2 * bars[0], image.height + 2 * bars[1]))
    padded.paste(image, bars)
    expected = resize(padded, 1, Preprocessing(height, width, 3, "squash", 1.0, kind, antialias))
    found = resize(image, 1, Preprocessing(height, width, 3, "pad", 1.0, kind, antialias))
    difference = np.abs(found.astype(int) - expected)
    averages = antialias and kind != "nearest"
    # Rows before columns where the bars are at the sides, so rounding differs.
    assert difference.max() <= (2 if averages and bars[0] else 0)


def test_crop_is_the_largest_central_box() -> None:
    # A blue cross-shaped frame around a red box of 2 : 1 in the middle.
    image = Image.new("RGB", (200, 300), BLUE)
    image.paste(RED, (0, 100, 200, 200))
    for antialias in (True, False):
        assert (resize(image, 1, Preprocessing(8, 16, antialias=antialias))[1:-1] == RED).all()
        smaller = Preprocessing(8, 16, crop=0.5, antialias=antialias)
        assert (resize(image, 1, smaller) == RED).all()
        # Twice as high: half of it is the frame.
        taller = resize(image, 1, Preprocessing(16, 16, antialias=antialias))
        assert (taller[:3] == BLUE).all()
        assert (taller[-3:] == BLUE).all()
        assert (taller[6:10] == RED).all()


def test_squash_shows_all_of_the_image() -> None:
    image = Image.new("RGB", (400, 100), RED)
    image.paste(BLUE, (200, 0, 400, 100))
    pixels = resize(image, 1, Preprocessing(10, 10, resize="squash", filter="nearest"))
    assert (pixels[:, :5] == RED).all()
    assert (pixels[:, 5:] == BLUE).all()


def test_bars_are_black() -> None:
    pixels = decode(
        encode_image(Image.new("RGB", (300, 100), RED), "PNG"), Preprocessing(90, 90, resize="pad")
    )
    assert (pixels[:25] == BLACK).all()
    assert (pixels[35:55] == RED).all()
    assert (pixels[-25:] == BLACK).all()


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("antialias", [True, False])
def test_one_channel_is_grey_of_the_composited_image(name: str, antialias: bool) -> None:
    data = CORPUS[name][0]
    size = (32, 32)
    whole = decode(data, Preprocessing(*size, 3, "squash", 1.0, "nearest"))
    grey = decode(data, Preprocessing(*size, 1, "squash", 1.0, "bilinear", antialias))
    assert grey.shape == (*size, 1)
    expected = np.asarray(Image.fromarray(whole).convert("L"))
    assert np.abs(grey[..., 0].astype(int) - expected).max() <= 1


def test_jpeg_is_decoded_at_full_size_without_antialiasing() -> None:
    image = noise(640, 480)
    data = encode_image(image, "JPEG", quality=90)
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    preprocessing = Preprocessing(16, 16, filter="bilinear", antialias=False)
    assert np.array_equal(decode(data, preprocessing), resize(whole, 1, preprocessing))
    scaled = Preprocessing(16, 16, filter="bilinear")
    assert not np.array_equal(decode(data, scaled), resize(whole, 1, scaled))
    assert np.abs(decode(data, scaled).astype(int) - resize(whole, 1, scaled)).max() < 12


def test_jpeg_is_too_large_where_it_cannot_be_scaled() -> None:
    image = Image.new("L", (6000, 5000), 77)
    data = encode_image(image, "JPEG")
    assert (decode(data, Preprocessing(8, 8)) == 77).all()
    for preprocessing in (Preprocessing(8, 8, antialias=False), Preprocessing(8, 8, filter="nearest")):
        with pytest.raises(ImageTooManyPixels, match=f"6000 x 5000 pixels; {MAX_PIXELS:,} in all"):
            decode(data, preprocessing)


def test_jpeg_is_too_large_where_the_model_needs_all_of_its_pixels() -> None:
    data = encode_image(Image.new("L", (50_000, 1_100)), "JPEG")
    with pytest.raises(ImageTooManyPixels, match="50000 x 1100 pixels at the scale that the model needs"):
        decode(data, Preprocessing(1024, 1024))
    assert decode(data, Preprocessing(224, 224)).shape == (224, 224, 3)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (65_000, 1400), (8, 8)])
@pytest.mark.parametrize("target", [(224, 224), (1, 1024), (1024, 1), (32, 128)])
@pytest.mark.parametrize("resizing", RESIZES)
def test_draft_keeps_the_pixels_that_the_result_needs(
    size: tuple[int, int], target: tuple[int, int], resizing: Resize
) -> None:
    height, width = target
    for orientation in (1, 6):
        preprocessing = Preprocessing(height, width, resize=resizing)
        draft = draft_size(size, orientation, preprocessing)
        upright, shown = (side[::-1] if orientation == 6 else side for side in (size, draft))
        scales = width / upright[0], height / upright[1]
        needed = {"crop": (max(scales),) * 2, "squash": scales, "pad": (min(scales),) * 2}[resizing]
        for side, whole, scale in zip(shown, upright, needed, strict=True):
            assert side == pytest.approx(max(1, whole * scale), abs=0.51)
