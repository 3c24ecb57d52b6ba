"""Every accepted format is decoded to the same uint8 [S,S,3]: upright, over white, cropped to the centre."""

from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from serving.model.decoder import STRIP_ROWS, Preprocessing, decode, decode_image
from tests.serving.images import CORPUS, encode_image

SIZE = 16
WHOLE = Preprocessing(size=SIZE, crop=1.0)
# The largest difference that lossy encoding makes in the middle of an even area.
LOSSY_TOLERANCE = 6

# How a camera stores an upright image, by EXIF orientation: the inverse of the table in the decoder, from the
# EXIF standard.
STORED_TRANSPOSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
    # Not defined by the standard.
    9: None,
}
ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("name", CORPUS)
def test_kind(name: str) -> None:
    data, colours = CORPUS[name]
    pixels = decode(data, WHOLE)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (SIZE, SIZE, 3)
    found = pixels[SIZE // 2, [SIZE // 4, SIZE - SIZE // 4]].astype(int)
    assert np.abs(found - colours).max() <= LOSSY_TOLERANCE, found


@pytest.mark.parametrize("kind", ENCODER_OPTIONS)
@pytest.mark.parametrize("orientation", STORED_TRANSPOSE)
def test_orientation(orientation: int, kind: str) -> None:
    photo = asymmetric()
    turn = STORED_TRANSPOSE[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = encode_image(
        photo if turn is None else photo.transpose(turn), kind, exif=exif, **ENCODER_OPTIONS[kind]
    )
    difference = decode(stored, WHOLE).astype(int) - decode(encode_image(photo, "PNG"), WHOLE)
    assert np.abs(difference).max() <= LOSSY_TOLERANCE


def test_orientation_of_a_heic_is_followed_once() -> None:
    # The container declares the rotation, which the decoder applies; EXIF repeats it.
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = asymmetric().transpose(Image.Transpose.ROTATE_90)
    turned.info["exif"] = exif.tobytes()
    stored = encode_image(turned, "HEIF", quality=-1)
    assert b"irot" in stored
    difference = decode(stored, WHOLE).astype(int) - decode(encode_image(asymmetric(), "PNG"), WHOLE)
    assert np.abs(difference).max() <= LOSSY_TOLERANCE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp(kind: str) -> None:
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    turned = asymmetric().transpose(Image.Transpose.ROTATE_90)
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        stored = encode_image(turned, kind, pnginfo=text)
    else:
        stored = encode_image(turned, kind, xmp=packet, **ENCODER_OPTIONS[kind])
    difference = decode(stored, WHOLE).astype(int) - decode(encode_image(asymmetric(), "PNG"), WHOLE)
    assert np.abs(difference).max() <= LOSSY_TOLERANCE


def asymmetric() -> Image.Image:
    """48 x 32 pixels that every rotation or reflection changes, smooth enough for JPEG."""
    x, y = np.meshgrid(np.arange(48), np.arange(32))
    return Image.fromarray(np.stack([5 * x, 7 * y, 2 * x + y], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("name", [f"{kind} with broken EXIF" for kind in ("JPEG", "PNG", "WEBP")])
def test_broken_metadata_do_not_matter(name: str) -> None:
    kind = name.split()[0]
    data = encode_image(asymmetric(), kind, exif=b"Exif\0\0no TIFF header", **ENCODER_OPTIONS[kind])
    assert decode(data, WHOLE).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (60, 60), (61, 99)])
@pytest.mark.parametrize(("crop", "corner"), [(0.4, 255), (0.7, 0), (1.0, 0)])
def test_centre(size: tuple[int, int], crop: float, corner: int) -> None:
    image = Image.new("RGB", size, "black")
    left, top = (size[0] - 30) // 2, (size[1] - 30) // 2
    image.paste("white", (left, top, left + 30, top + 30))
    pixels = decode(encode_image(image, "PNG"), Preprocessing(SIZE, crop))
    assert (pixels[SIZE // 2, SIZE // 2] == 255).all()
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == corner).all()


def test_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    large = asymmetric().resize((1200, 800), Image.Resampling.BICUBIC)
    small, reference = (decode(encode_image(large, kind), WHOLE).astype(int) for kind in ("JPEG", "PNG"))
    assert np.abs(small - reference).max() <= LOSSY_TOLERANCE


@pytest.mark.parametrize("name", CORPUS)
def test_decoded_image_has_format_and_size_of_the_file(name: str) -> None:
    data, _ = CORPUS[name]
    decoded = decode_image(data, WHOLE)
    assert decoded.format == name.split()[0].upper()
    assert (decoded.width, decoded.height) == (32, 32)
    assert (decoded.pixels == decode(data, WHOLE)).all()


@pytest.mark.parametrize("kind", ENCODER_OPTIONS)
def test_decoded_image_has_the_size_as_stored(kind: str) -> None:
    # Before rotation, and at full scale.
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    decoded = decode_image(
        encode_image(asymmetric().resize((480, 320)), kind, exif=exif, **ENCODER_OPTIONS[kind]), WHOLE
    )
    assert (decoded.format, decoded.width, decoded.height) == (kind, 480, 320)


@pytest.mark.parametrize("height", [STRIP_ROWS - 1, STRIP_ROWS, STRIP_ROWS + 1, 3 * STRIP_ROWS - 5])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_image_shows_no_seam(mode: str, height: int) -> None:
    # Colour and alpha differ in every row; the reference is composited over white by arithmetic.
    x, y = np.meshgrid(np.arange(800), np.arange(height))
    colour = np.stack([x // 4, y // 4, 255 - x // 4], axis=-1)[..., : len(mode) - 1]
    alpha = ((x + y) % 256)[..., np.newaxis]
    stored = np.concatenate([colour, alpha], axis=-1).astype(np.uint8)
    over = np.broadcast_to(255 + (colour - 255) * alpha / 255, (height, 800, 3)).round().astype(np.uint8)
    found, reference = (
        decode(encode_image(Image.fromarray(pixels), "PNG"), WHOLE).astype(int) for pixels in (stored, over)
    )
    assert np.abs(found - reference).max() <= 1


# So large that the parser reads the transforms of a lossless WebP.
WIDE = asymmetric().resize((480, 320), Image.Resampling.BICUBIC)
SPECKLED = Image.fromarray(
    np.asarray(WIDE) // 2 + np.random.default_rng(1).integers(0, 100, (320, 480, 3), dtype=np.uint8)
)


@pytest.mark.parametrize("method", [0, 3])
@pytest.mark.parametrize("kind", ["plain", "speckled", "few colours", "two colours", "transparent"])
def test_lossless_webp_is_read_whatever_its_transformations(kind: str, method: int) -> None:
    image = {
        "plain": WIDE,
        "speckled": SPECKLED,
        "few colours": SPECKLED.quantize(13).convert("RGB"),
        "two colours": SPECKLED.convert("1").convert("RGB"),
        "transparent": Image.merge("RGBA", (*SPECKLED.split(), SPECKLED.convert("L"))),
    }[kind]
    stored = encode_image(image, "WEBP", lossless=True, exact=True, method=method)
    assert (decode(stored, WHOLE) == decode(encode_image(image, "PNG"), WHOLE)).all()
    # The alpha channel of a lossy image is compressed in the same way.
    if image.mode == "RGBA":
        assert decode(encode_image(image, "WEBP", method=method), WHOLE).shape == (SIZE, SIZE, 3)
