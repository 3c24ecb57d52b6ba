"""Rate limiting: sliding windows, in tables of bounded size that a flood of clients cannot clear."""

import mmap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from serving import rates
from serving.api.access_control import AccessControl, networks_of
from serving.api.errors import RateLimited
from serving.api.rate_limit import MAX_CLIENTS, ClientWindows, RateLimiter
from serving.api.window_table import KEY_BYTES, PROBES, WINDOW_BYTES
from serving.rates import Rate
from serving.workers.shared_folder import SharedFolder
from tests.serving.api.test_access_control import request_from


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> SharedFolder:
    """A folder for the counts of one test."""
    return SharedFolder.create(tmp_path)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/minute", Rate(60, 60)),
        ("5 per 10 seconds", Rate(5, 10)),
        ("1/2 Hours", Rate(1, 7200)),
        (" 3/day ", Rate(3, 86_400)),
        ("3 PER month", Rate(3, 2_592_000)),
        ("3/year", Rate(3, 31_104_000)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert rates.parse_rate(text) == rate
    assert rates.parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "0/day", "1/0 day", "1/week", "-1/day", "\u0661/day", "9" * 5000 + "/day"],
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="60/minute"):
        rates.parse_rate(text)


def waiting_times(folder: SharedFolder, rate: Rate, *moments: float) -> list[float]:
    """The waiting times of a new client that sends a request at these seconds of a period."""
    clock, counts, client = Clock(), [ClientWindows(rate, folder, "one")], str(moments)
    clock.now -= clock.now % rate.seconds
    limiter, start = RateLimiter(folder, clock), clock.now
    found = []
    for moment in moments:
        clock.now = start + moment
        found.append(limiter.hit(counts, client))
    return found


def test_windows_slide(folder: SharedFolder) -> None:
    rate = Rate(4, 100)
    assert waiting_times(folder, rate, 0, 0, 0, 0, 10, 99) == [0, 0, 0, 0, 90, 1]
    # Of the previous period, the part counts that the last hundred seconds still cover.
    assert waiting_times(folder, rate, 90, 90, 90, 90, 120, 120, 149, 149.5, 151) == [
        0,
        0,
        0,
        0,
        0,
        5,
        0,
        0.5,
        0,
    ]
    assert waiting_times(folder, rate, 0, 0, 0, 0, 200, 200, 200, 200, 200) == [0, 0, 0, 0, 0, 0, 0, 0, 100]


@pytest.mark.parametrize("rate", [Rate(1, 60), Rate(7, 10), Rate(100, 1)])
def test_a_client_that_waits_as_told_is_allowed(folder: SharedFolder, rate: Rate) -> None:
    clock, counts = Clock(), [ClientWindows(rate, folder, "one")]
    limiter, began, answered = RateLimiter(folder, clock), clock.now, 0
    while clock.now < began + 10 * rate.seconds:
        wait = limiter.hit(counts, "one")
        assert 0 <= wait <= rate.seconds
        answered += not wait
        clock.now += wait + 1e-6
    assert 10 * rate.amount <= answered <= 12 * rate.amount


def test_a_refused_request_counts_against_no_limit(folder: SharedFolder) -> None:
    clock = Clock()
    counts = [ClientWindows(Rate(1, 10), folder, "short"), ClientWindows(Rate(3, 10_000), folder, "long")]
    limiter = RateLimiter(folder, clock)
    for _ in range(3):
        assert limiter.hit(counts, "one") == 0
        assert limiter.hit(counts, "one") > 0
        clock.now += 20
    assert limiter.hit(counts, "one") > 20


def flood(
    limiter: RateLimiter, counts: list[ClientWindows], number: int, form: Callable[[int], str]
) -> list[bool]:
    """Sends a request from each of many addresses; which were allowed?"""
    return [limiter.hit(counts, form(index), networks_of) == 0 for index in range(number)]


def in_48(index: int) -> str:
    return f"2001:db8:0:{index:x}::/64"


def test_a_full_table_keeps_all_counts(folder: SharedFolder) -> None:
    clock, counts = Clock(), [ClientWindows(Rate(2, 60), folder, "one", clients=50, networks=10)]
    limiter = RateLimiter(folder, clock)
    for _ in range(2):
        assert limiter.hit(counts, "192.0.2.1", networks_of) == 0
    assert all(flood(limiter, counts, 49, in_48))
    # All further clients of this network share two requests.
    assert sum(flood(limiter, counts, 5000, lambda index: in_48(100 + index))) == 2
    assert limiter.hit(counts, "192.0.2.1", networks_of) > 0
    # Clients of other networks are not affected, nor are those that are in the table already.
    assert limiter.hit(counts, "2001:db8:1::/64", networks_of) == 0
    assert limiter.hit(counts, "198.51.100.1", networks_of) == 0
    assert limiter.hit(counts, in_48(0), networks_of) == 0
    assert limiter.hit(counts, in_48(0), networks_of) > 0
    # When the tables of networks are full, wider networks share two requests, and then all others do.
    assert sum(flood(limiter, counts, 5000, lambda index: f"2001:db9:{index:x}::/64")) <= 2 * 10 + 2
    assert sum(flood(limiter, counts, 5000, lambda index: f"2a00:{index:x}::/64")) <= 2 * 20 + 2
    assert len(counts[0]) <= 50 + 2 * 10
    # Two periods later none of these requests counts.
    clock.now += 121
    assert all(flood(limiter, counts, 40, lambda index: in_48(1000 + index)))
    assert len(counts[0]) <= 50 + 2 * 10


def test_a_client_takes_one_place_however_long_it_stays(folder: SharedFolder) -> None:
    clock, counts = Clock(), [ClientWindows(Rate(2, 60), folder, "one", clients=50, networks=10)]
    limiter = RateLimiter(folder, clock)
    for _ in range(10):
        assert all(flood(limiter, counts, 49, in_48))
        assert len(counts[0]) == 49
        clock.now += 60
    # There is one place left: all further clients of this network share two requests.
    assert sum(flood(limiter, counts, 100, lambda index: in_48(100 + index))) == 1 + 2


def test_networks() -> None:
    assert list(networks_of("192.0.2.1")) == ["192.0.2.0/24", "192.0.0.0/16"]
    assert list(networks_of("2001:db8:1:2::/64")) == ["2001:db8:1::/48", "2001:db8::/32"]
    assert list(networks_of("unknown")) == list(networks_of("key alice")) == []


class CountingMemory(mmap.mmap):
    """Memory that counts the bytes which searches read."""

    read_bytes = 0

    def __getitem__(self, where: Any) -> Any:  # noqa: ANN401  (an index or a slice, as in mmap)
        found = super().__getitem__(where)
        CountingMemory.read_bytes += len(found)
        return found


def count_allowed(access: AccessControl, request: Request, numbers: range) -> int:
    """Sends one request from each of so many clients, each in a network of its own within one /32."""
    allowed = 0
    for number in numbers:
        request.remote_addr = f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"
        with suppress(RateLimited):
            access.check(request)
            allowed += 1
    return allowed


def test_cost_does_not_grow_with_the_number_of_clients(
    folder: SharedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "mmap", CountingMemory)
    access, request = AccessControl((), "60/day", folder), request_from("192.0.2.1")
    assert count_allowed(access, request, range(MAX_CLIENTS)) == MAX_CLIENTS
    sizes = {file: file.stat().st_size for file in folder.path.iterdir()}
    CountingMemory.read_bytes = 0
    # All further clients share the requests of one client.
    assert count_allowed(access, request, range(MAX_CLIENTS, MAX_CLIENTS + 2000)) == 60
    assert count_allowed(access, request, range(2000)) == 2000
    # Each request may read the keys and windows of some slots, in each of four tables.
    assert 0 < CountingMemory.read_bytes <= 4000 * 4 * PROBES * (KEY_BYTES + WINDOW_BYTES)
    # The file does not grow.
    assert {file: file.stat().st_size for file in folder.path.iterdir()} == sizes
    assert sum(sizes.values()) < 6_000_000
