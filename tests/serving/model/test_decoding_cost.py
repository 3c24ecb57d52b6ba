"""No image below the size limit takes more than 250 MB or 1.5 s of CPU time, whatever its file contains."""

import random
from collections.abc import Callable
from itertools import product

import pytest
from PIL import ExifTags, Image

from serving.model.decoder import MAX_BYTES
from serving.model.preprocessing import Preprocessing
from serving.server.memory import IMAGE_BYTES
from tests.serving.decoding_cost import PEAK_RESET, PHOTO, CostMeter, DecodingCost
from tests.serving.fuzz import mutate
from tests.serving.hostile_images import BOMBS, ELEMENTS, repeat_element, separate_scans
from tests.serving.images import CORPUS, encode_image

pytestmark = pytest.mark.skipif(not PEAK_RESET.exists(), reason="only Linux reports a process's peak memory")

# Preprocessing that takes the most: the widest filter on all pixels, the largest input, bars, grey.
COSTLY = {
    "without antialiasing": Preprocessing(1024, 1024, 3, "squash", 1.0, "lanczos", antialias=False),
    "grey with bars": Preprocessing(224, 1024, 1, "pad", 1.0, "bicubic", antialias=False),
    "bars": Preprocessing(1024, 1024, 3, "pad", 1.0, "lanczos", antialias=True),
}
SIDE = 4999
# The largest images that are accepted, stored as they take most memory.
LARGE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode_image(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG", exif=turned()),
    "jpeg in cmyk": lambda: encode_image(Image.new("CMYK", (SIDE, SIDE)), "JPEG"),
    "jpeg, progressive": lambda: encode_image(Image.new("RGB", (SIDE, SIDE)), "JPEG", progressive=True),
    "jpeg, a panorama": lambda: encode_image(Image.new("RGB", (35_000, 710)), "JPEG"),
    "png, transparent": lambda: encode_image(Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 99)), "PNG"),
    "webp, transparent": lambda: encode_image(
        Image.new("RGBA", (3460, 3460), (1, 2, 3, 99)), "WEBP", method=0
    ),
}

MEGABYTES, SECONDS = IMAGE_BYTES // 2**20, 1.5


def turned() -> Image.Exif:
    """The orientation of an image that is stored lying on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def within_bounds(cost: DecodingCost) -> bool:
    return cost.megabytes <= MEGABYTES and cost.seconds <= SECONDS


@pytest.mark.parametrize("name", ELEMENTS)
def test_any_number_of_any_element(meter: CostMeter, name: str) -> None:
    few, many = (meter.measure(repeat_element(name, size)) for size in (1000, 6 * 2**20))
    assert within_bounds(few)
    assert within_bounds(many)
    # About what a small image needs, however many elements it has.
    assert many.megabytes < 50
    assert many.seconds < 0.5


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bombs(meter: CostMeter, name: str) -> None:
    data = BOMBS[name]()
    assert len(data) <= MAX_BYTES
    for preprocessing in (PHOTO, COSTLY["without antialiasing"]):
        assert within_bounds(meter.measure(data, preprocessing))


# The costliest preparation for all kinds of files, the others for one that is turned.
@pytest.mark.parametrize(
    ("kind", "name"), [*product(LARGE, [*COSTLY][:1]), *product([*LARGE][:1], [*COSTLY][1:])]
)
def test_large_images_that_are_decoded_at_full_size(meter: CostMeter, kind: str, name: str) -> None:
    cost = meter.measure(LARGE[kind](), COSTLY[name])
    assert cost.outcome == "decoded"
    assert within_bounds(cost)


def test_scans_in_cmyk_are_refused_where_they_would_be_decoded_at_full_size(meter: CostMeter) -> None:
    data = BOMBS["jpeg, separate scans, 25 megapixels in CMYK"]()
    assert meter.measure(data).outcome == "decoded"
    assert meter.measure(data, COSTLY["without antialiasing"]).outcome == "image_too_many_pixels"


def test_frame_in_separate_scans_is_refused_where_a_plain_one_is_not(meter: CostMeter) -> None:
    # Larger than an image that is held in memory may be, but not larger than a JPEG with one scan may be.
    assert meter.measure(separate_scans(14_100)).outcome == "image_too_many_pixels"
    assert meter.measure(BOMBS["jpeg, 196 megapixels"]()).outcome == "decoded"


@pytest.mark.parametrize("name", CORPUS)
def test_mutated_files(meter: CostMeter, name: str) -> None:
    # `python -m tests.serving.fuzz` tries as many as there is time for.
    rng = random.Random(name)
    for _ in range(15):
        assert within_bounds(meter.measure(mutate(CORPUS[name][0], rng)))
