"""Images of all formats over HTTP: right predictions for accepted ones, helpful errors for the others."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import ExifTags, Image

from serving.artifact.manifest import GRAPH
from serving.errors import ImageTooLarge
from serving.model.decoder import MAX_BYTES
from serving.model.formats.image_file import ACCEPTED
from tests.serving.api.test_routes import best, check_problem, upload
from tests.serving.bundles import COLOURS, expected_probabilities, one_colour_png, onnx_graph
from tests.serving.images import CORPUS, RGB, encode_image, interlaced_png, make_png, png_rows
from tests.serving.model.test_formats_decode import ENCODER_OPTIONS as KINDS_WITH_EXIF
from tests.serving.model.test_formats_decode import STORED_TRANSPOSE
from tests.serving.model.test_images_are_refused import REFUSED
from tests.serving.servers import Server, publish, running

RED = one_colour_png(COLOURS["red"])
# Tolerance of a probability after lossy encoding.
LOSSY = 0.03
PATHS = ["/inference", "/predict"]
# A second, colourless image for formats that hold several.
MORE: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (60, 40))], "duration": 100}

# Encoders for each format.
KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: encode_image(image, "JPEG"),
    "jpeg progressive": lambda image: encode_image(image, "JPEG", progressive=True),
    "jpeg cmyk": lambda image: encode_image(image.convert("CMYK"), "JPEG"),
    "mpo": lambda image: encode_image(image, "MPO", **MORE),
    "png": lambda image: encode_image(image, "PNG"),
    "png palette": lambda image: encode_image(image.quantize(16), "PNG"),
    "png rgba": lambda image: encode_image(image.convert("RGBA"), "PNG"),
    "png 16 bit": lambda image: make_png(
        *image.size, 16, RGB, png_rows(257 * np.asarray(image, dtype=">u2"))
    ),
    "png interlaced": interlaced_png,
    "webp": lambda image: encode_image(image, "WEBP"),
    "webp lossless": lambda image: encode_image(image, "WEBP", lossless=True),
    "webp rgba": lambda image: encode_image(image.convert("RGBA"), "WEBP"),
    "webp animated": lambda image: encode_image(image, "WEBP", **MORE),
    "gif": lambda image: encode_image(image, "GIF"),
    "gif animated": lambda image: encode_image(image, "GIF", **MORE),
    "bmp": lambda image: encode_image(image, "BMP"),
    "bmp palette": lambda image: encode_image(image.quantize(16), "BMP"),
}


def with_grey_patch(rgb: tuple[int, int, int]) -> Image.Image:
    """An image of one colour with a grey patch in the middle."""
    image = Image.new("RGB", (60, 40), rgb)
    image.paste((128, 128, 128), (20, 10, 40, 30))
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("path", PATHS)
def test_best_class_of_every_format(server: Server, path: str, colour: str, kind: str) -> None:
    photo = KINDS[kind](with_grey_patch(COLOURS[colour]))
    assert best(server.post(path, data=photo)) == best(server.post(path, **upload(photo))) == [colour]


@pytest.mark.parametrize("name", CORPUS)
def test_answer_to_every_kind(server: Server, name: str) -> None:
    photo, halves = CORPUS[name]
    red, green, blue = (sum(channel) // 2 for channel in zip(*halves, strict=True))
    response = dict(zip(COLOURS, expected_probabilities((red, green, blue)), strict=True))
    assert server.post("/inference", data=photo).json() == pytest.approx(response, abs=LOSSY)


@pytest.fixture(scope="module")
def one_spot_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model uses only a spot at the upper edge, a little left of the middle."""
    model = onnx.load_from_string(onnx_graph(energy=True))
    model.graph.node.insert(1, helper.make_node("Slice", ["pixels", "starts", "ends", "sides"], ["spot"]))
    model.graph.node[2].input[0] = "spot"
    for name, corner in {"starts": [0, 2], "ends": [2, 4]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(corner, dtype=np.int64), name))
    folder = publish(tmp_path_factory.mktemp("one_spot_server"), extra={GRAPH: model.SerializeToString()})
    with running(folder) as started:
        yield started


@pytest.mark.parametrize("kind", KINDS_WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_seen_upright(one_spot_server: Server, orientation: int, kind: str) -> None:
    # Blue, with red only at that spot; no other of the eight orientations has red there.
    upright = Image.new("RGB", (64, 64), COLOURS["blue"])
    upright.paste(COLOURS["red"], (16, 0, 32, 16))
    turn = STORED_TRANSPOSE[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    with_exif = encode_image(stored, kind, exif=exif, **KINDS_WITH_EXIF[kind])
    assert best(one_spot_server.post("/inference", data=with_exif)) == ["red"]
    if turn is not None:
        without_exif = encode_image(stored, kind, **KINDS_WITH_EXIF[kind])
        assert best(one_spot_server.post("/inference", data=without_exif)) == ["blue"]


BAD = REFUSED | {"20 MiB and a byte": (bytes(MAX_BYTES + 1), ImageTooLarge, "20,971,520 are allowed")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BAD)
def test_refused_in_a_form(server: Server, path: str, name: str) -> None:
    data, kind, part = BAD[name]
    assert part in check_problem(server.post(path, **upload(data)), kind.status, kind.code)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [name for name, (data, _, _) in BAD.items() if data])
def test_refused_as_the_body(server: Server, path: str, name: str) -> None:
    data, kind, part = BAD[name]
    assert part in check_problem(server.post(path, data=data), kind.status, kind.code)


@pytest.mark.parametrize("name", BAD)
def test_one_of_two_is_named(server: Server, name: str) -> None:
    data, kind, part = BAD[name]
    sentence = check_problem(server.post("/predict", **upload(RED, data)), kind.status, kind.code, index=1)
    assert part in sentence


@pytest.mark.parametrize("index", [0, 1, 7, 15])
def test_index_of_the_refused_image_is_named(server: Server, index: int) -> None:
    images = [RED] * 16
    images[index] = b"?"
    check_problem(server.post("/predict", **upload(*images)), 415, "image_unrecognised", index=index)


def test_first_of_several_faults_is_named(server: Server) -> None:
    response = server.post("/predict", **upload(RED, b"", b"?", RED[:9]))
    check_problem(response, 400, "image_empty", index=1)


@pytest.mark.parametrize("path", PATHS)
def test_heic_photo_gets_a_hint_how_to_convert_it(server: Server, path: str) -> None:
    data = REFUSED["heif of pixels that are not compressed"][0]
    response = server.post(path, files={"image": ("IMG_0001.HEIC", data, "image/heic")})
    sentence = check_problem(response, 415, "image_format_unsupported")
    assert "Export the photo as JPEG" in sentence
    assert "Most Compatible" in sentence
    assert "heif-convert photo.heic photo.jpg" in sentence


# The advice in each error's sentence, by code.
HINTS = {
    "image_empty": "Was the file read",
    "image_too_large": "Send a smaller one",
    "image_unrecognised": f"Send {ACCEPTED}",
    "image_format_unsupported": f"Send {ACCEPTED}",
    "image_too_many_pixels": "Scale it down",
    "image_too_small": "needs at least 8",
    "image_truncated": "Send all of it again",
    "image_damaged": "Send it again",
}


@pytest.mark.parametrize("name", BAD)
def test_sentence_says_what_to_do(server: Server, name: str) -> None:
    document = server.post("/predict", **upload(BAD[name][0])).json()
    assert HINTS[document["code"]] in document["detail"]
