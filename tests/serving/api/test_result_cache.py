"""The result cache answers images that are sent again, and nothing else."""

from collections.abc import Iterator

import numpy as np
import pytest

from serving.api.request_context import ImageFacts
from serving.api.result_cache import ENTRY_BYTES, CachedAnswer, ResultCache
from serving.model.predictor import Prediction
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import Server, publish, running
from tests.serving.updates.versions import add_version, pin_and_await

RED, GREEN, BLUE = (one_colour_png(colour) for colour in COLOURS.values())


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a cache."""
    with running(publish(tmp_path_factory.mktemp("cached")), cache_mb=1) as started:
        yield started


def test_an_image_that_is_sent_again_is_answered_from_the_cache(cached: Server) -> None:
    first, second = (cached.post("/predict", data=RED) for _ in range(2))
    assert [each.headers["X-Cache"] for each in (first, second)] == ["MISS", "HIT"]
    assert first.json()["predictions"] == second.json()["predictions"]
    assert second.json()["milliseconds"]["inference"] == 0
    assert first.json()["request_id"] != second.json()["request_id"]
    # Other parameters and protocols need the same prediction.
    assert len(cached.post("/predict?top=1", data=RED).json()["predictions"][0]) == 1
    answer = cached.post("/invocations", data=RED, headers={"Content-Type": "image/png"})
    assert (answer.headers["X-Cache"], answer.status_code) == ("HIT", 200)
    lines = [line for line in cached.log() if line.get("route") == "/predict"]
    assert all(len(line["images"]) == 1 for line in lines)


def test_a_request_is_a_hit_if_all_of_its_images_are(cached: Server) -> None:
    cached.post("/predict", data=GREEN)
    for images, expected in (([GREEN, BLUE], "MISS"), ([BLUE, GREEN], "HIT")):
        response = cached.post("/predict", files=[("image", each) for each in images])
        assert response.headers["X-Cache"] == expected
        best = [scores[0]["label"] for scores in response.json()["predictions"]]
        assert sorted(best) == ["blue", "green"]


def test_it_is_counted(cached: Server) -> None:
    cached.post("/predict", data=RED)
    cached.post("/predict", data=RED)
    text = cached.get("/metrics").text
    counts = [line.split() for line in text.splitlines() if line.startswith("goldfish_cache_requests_total")]
    assert {name: float(number) > 0 for name, number in counts} == {
        'goldfish_cache_requests_total{result="hit"}': True,
        'goldfish_cache_requests_total{result="miss"}': True,
    }


def test_another_version_does_not_get_old_answers(cached: Server) -> None:
    old = cached.post("/predict", data=RED).json()["predictions"]
    pin_and_await(cached, add_version(cached.folder, 4, steepness=2.0))
    fresh = cached.post("/predict", data=RED)
    assert fresh.headers["X-Cache"] == "MISS"
    assert fresh.json()["predictions"] != old


def test_errors_are_not_kept(cached: Server) -> None:
    for _ in range(2):
        response = cached.post("/predict", data=b"no image")
        assert (response.status_code, response.headers["X-Cache"]) == (415, "MISS")


def test_without_it_nothing_is_said(server: Server) -> None:
    assert "X-Cache" not in server.post("/predict", data=RED).headers


def test_memory_is_bounded() -> None:
    answer = CachedAnswer(Prediction(np.zeros(3, np.float32), None), ImageFacts("PNG", 8, 8, 100), 0.5, 8.0)
    cache = ResultCache(10 * answer.bytes)
    keys = [bytes([number]) for number in range(20)]
    for key in keys:
        cache.add(key, answer)
        # Used again and again, so it stays.
        assert cache.find([keys[0]])
    assert cache.used == cache.limit
    assert [cache.find([key]) is not None for key in keys] == [True] + [False] * 10 + [True] * 9
    assert answer.bytes == 12 + ENTRY_BYTES
