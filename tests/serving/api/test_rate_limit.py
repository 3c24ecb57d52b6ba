"""Rate limiting: sliding windows, in tables of bounded size that a flood of clients cannot clear."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from flask import Request

from serving import rates
from serving.api import rate_limit
from serving.api.access_control import AccessControl, networks_of
from serving.api.errors import RateLimited
from serving.api.rate_limit import MAX_CLIENTS, ClientWindows, RateLimiter, SlidingWindow
from serving.rates import Rate
from tests.serving.api.test_access_control import request_from


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


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


def waiting_times(rate: Rate, *moments: float) -> list[float]:
    """The waiting times of one client that sends a request at these seconds of a period."""
    clock, counts = Clock(), [ClientWindows(rate)]
    clock.now -= clock.now % rate.seconds
    limiter, start = RateLimiter(clock), clock.now
    found = []
    for moment in moments:
        clock.now = start + moment
        found.append(limiter.hit(counts, "one"))
    return found


def test_windows_slide() -> None:
    rate = Rate(4, 100)
    assert waiting_times(rate, 0, 0, 0, 0, 10, 99) == [0, 0, 0, 0, 90, 1]
    # Of the previous period, the part counts that the last hundred seconds still cover.
    assert waiting_times(rate, 90, 90, 90, 90, 120, 120, 149, 149.5, 151) == [0, 0, 0, 0, 0, 5, 0, 0.5, 0]
    assert waiting_times(rate, 0, 0, 0, 0, 200, 200, 200, 200, 200) == [0, 0, 0, 0, 0, 0, 0, 0, 100]


@pytest.mark.parametrize("rate", [Rate(1, 60), Rate(7, 10), Rate(100, 1)])
def test_a_client_that_waits_as_told_is_allowed(rate: Rate) -> None:
    clock, counts = Clock(), [ClientWindows(rate)]
    limiter, began, answered = RateLimiter(clock), clock.now, 0
    while clock.now < began + 10 * rate.seconds:
        wait = limiter.hit(counts, "one")
        assert 0 <= wait <= rate.seconds
        answered += not wait
        clock.now += wait + 1e-6
    assert 10 * rate.amount <= answered <= 12 * rate.amount


def test_a_refused_request_counts_against_no_limit() -> None:
    clock, counts = Clock(), [ClientWindows(Rate(1, 10)), ClientWindows(Rate(3, 10_000))]
    limiter = RateLimiter(clock)
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


def test_a_full_table_keeps_all_counts() -> None:
    clock, counts = Clock(), [ClientWindows(Rate(2, 60), clients=50, networks=10)]
    limiter = RateLimiter(clock)
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


def test_networks() -> None:
    assert list(networks_of("192.0.2.1")) == ["192.0.2.0/24", "192.0.0.0/16"]
    assert list(networks_of("2001:db8:1:2::/64")) == ["2001:db8:1::/48", "2001:db8::/32"]
    assert list(networks_of("unknown")) == list(networks_of("key alice")) == []


class CountingTable(OrderedDict[str, SlidingWindow]):
    """A table that counts the entries which iterations visit, over all tables."""

    visited = 0

    def items(self) -> Iterator[tuple[str, SlidingWindow]]:  # type: ignore[override]
        for item in super().items():
            CountingTable.visited += 1
            yield item

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            CountingTable.visited += 1
            yield name


def count_allowed(access: AccessControl, request: Request, numbers: range) -> int:
    """Sends one request from each of so many clients, each in a network of its own within one /32."""
    allowed = 0
    for number in numbers:
        request.remote_addr = f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"
        with suppress(RateLimited):
            access.check(request)
            allowed += 1
    return allowed


def test_cost_does_not_grow_with_the_number_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "OrderedDict", CountingTable)
    access, request = AccessControl((), "60/minute; 1000/day"), request_from("192.0.2.1")
    assert count_allowed(access, request, range(MAX_CLIENTS)) == MAX_CLIENTS
    CountingTable.visited = 0
    # All further clients share the requests of one client.
    assert count_allowed(access, request, range(MAX_CLIENTS, MAX_CLIENTS + 2000)) == 60
    assert count_allowed(access, request, range(2000)) == 2000
    # Each request may look at two entries, to remove expired ones, in each of three tables of two limits.
    assert 0 < CountingTable.visited <= 2 * 3 * 2 * 4000
