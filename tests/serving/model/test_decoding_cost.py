"""No image below the size limit takes more than 250 MB or 1.5 s of CPU time, whatever its file contains."""

import random

import pytest

from serving.model.decoder import MAX_BYTES
from serving.server.memory import IMAGE_BYTES
from tests.serving.decoding_cost import PEAK_RESET, CostMeter, DecodingCost
from tests.serving.fuzz import mutate
from tests.serving.hostile_images import BOMBS, ELEMENTS, repeat_element, separate_scans
from tests.serving.images import CORPUS

pytestmark = pytest.mark.skipif(not PEAK_RESET.exists(), reason="only Linux reports a process's peak memory")

MEGABYTES, SECONDS = IMAGE_BYTES // 2**20, 1.5


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
    assert within_bounds(meter.measure(data))


def test_frame_in_separate_scans_is_refused_where_a_plain_one_is_not(meter: CostMeter) -> None:
    # Larger than an image that is held in memory may be, but not larger than a JPEG with one scan may be.
    assert meter.measure(separate_scans(14_100)).outcome == "image_too_many_pixels"
    assert meter.measure(BOMBS["jpeg, 196 megapixels"]()).outcome == "decoded"


@pytest.mark.parametrize("name", CORPUS)
def test_mutated_files(meter: CostMeter, name: str) -> None:
    rng = random.Random(name)
    for _ in range(40):
        assert within_bounds(meter.measure(mutate(CORPUS[name][0], rng)))
