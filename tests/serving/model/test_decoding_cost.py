"""No picture below the limit of bytes costs more than 250 MB or 1.5 s of a core, whatever its file says."""

import random

import pytest

from serving.model.decoder import MAX_BYTES
from serving.server.memory import PICTURE
from tests.serving.decoding_cost import PEAK_RESET, CostMeter, DecodingCost
from tests.serving.fuzz import mutate
from tests.serving.hostile_images import BOMBS, ELEMENTS, repeat_element, separate_scans
from tests.serving.images import CORPUS

pytestmark = pytest.mark.skipif(not PEAK_RESET.exists(), reason="only Linux tells a process's peak")

MEGABYTES, SECONDS = PICTURE // 2**20, 1.5


def within_bounds(cost: DecodingCost) -> bool:
    return cost.megabytes <= MEGABYTES and cost.seconds <= SECONDS


@pytest.mark.parametrize("name", ELEMENTS)
def test_any_number_of_any_piece(meter: CostMeter, name: str) -> None:
    few, many = (meter.cost(repeat_element(name, size)) for size in (1000, 6 * 2**20))
    assert within_bounds(few)
    assert within_bounds(many)
    # Next to what a picture of this size needs, whatever it is told to read.
    assert many.megabytes < 50
    assert many.seconds < 0.5


@pytest.mark.parametrize("name", BOMBS)
def test_few_pieces_that_stand_for_much(meter: CostMeter, name: str) -> None:
    data = BOMBS[name]()
    assert len(data) <= MAX_BYTES
    assert within_bounds(meter.cost(data))


def test_frame_in_separate_scans_is_refused_where_a_plain_one_is_not(meter: CostMeter) -> None:
    # As large as a plain JPEG may be, and as large as one may be that is held as a whole.
    assert meter.cost(separate_scans(14_100)).outcome == "image_too_many_pixels"
    assert meter.cost(BOMBS["jpeg, 196 megapixels"]()).outcome == "decoded"


@pytest.mark.parametrize("name", CORPUS)
def test_mutated_files(meter: CostMeter, name: str) -> None:
    chance = random.Random(name)
    for _ in range(40):
        assert within_bounds(meter.cost(mutate(CORPUS[name][0], chance)))
