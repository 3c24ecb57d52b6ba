"""The body budget: eviction in favour of clients that use less, and the release of slots and memory."""

import math
from contextlib import ExitStack, suppress

import pytest

from serving.api.body_budget import BURST, RATE, BodyBudget, Upload
from serving.api.errors import ServerBusy


def begin(stack: ExitStack, budget: BodyBudget, client: str, declared: int | None = 1000) -> Upload:
    """Begins an upload of a client."""
    return stack.enter_context(budget.upload(client, declared, math.inf))


def test_one_client_may_use_all_slots_until_others_come() -> None:
    budget = BodyBudget(8, 1000)
    with ExitStack() as stack:
        for client in ("a", "b", "c", "d"):
            for _ in range(8):
                upload = begin(stack, budget, client)
                with suppress(ServerBusy):
                    budget.acquire_slot(upload, 0)
            assert budget.used_slots == 8
        # Eight slots for four clients.
        assert {client: usage.slots for client, usage in budget._usage.items()} == dict.fromkeys("abcd", 2)
    assert (budget.used_slots, budget.held, budget._usage) == (0, 0, {})


def test_slowest_upload_of_the_largest_client_is_evicted() -> None:
    budget = BodyBudget(3, 1000)
    with ExitStack() as stack:
        uploads = [begin(stack, budget, "greedy") for _ in range(3)]
        for upload, received in zip(uploads, (500, 10, 900), strict=True):
            budget.acquire_slot(upload, received)
        budget.acquire_slot(begin(stack, budget, "other"), 0)
        assert [upload.evicted for upload in uploads] == [False, True, False]
        with pytest.raises(ServerBusy):
            budget.acquire_slot(uploads[1], 11)
        with pytest.raises(ServerBusy):
            budget.hold(uploads[1], 1)


def test_memory_is_taken_from_the_largest_client_and_released() -> None:
    budget = BodyBudget(8, 1000)
    with ExitStack() as stack:
        first, second, other = (begin(stack, budget, client) for client in ("a", "b", "c"))
        for upload in (first, second):
            budget.acquire_slot(upload, 0)
            budget.hold(upload, 500)
        with pytest.raises(ServerBusy):
            budget.hold(begin(stack, budget, "a"), 1)
        budget.hold(other, 300)
        assert budget.held == 800
        assert sorted(upload.evicted for upload in (first, second)) == [False, True]
    assert budget.held == 0


def test_complete_body_is_not_evicted() -> None:
    budget = BodyBudget(8, 1000)
    with ExitStack() as stack:
        whole = begin(stack, budget, "a")
        budget.acquire_slot(whole, 0)
        budget.hold(whole, 1000)
        budget.finish(whole)
        with pytest.raises(ServerBusy):
            budget.hold(begin(stack, budget, "b"), 1)
        assert not whole.evicted


def test_bandwidth_is_limited_only_with_several_clients() -> None:
    budget = BodyBudget(8, 10**9)
    with ExitStack() as stack:
        alone = begin(stack, budget, "a")
        assert budget.pause(alone, 100 * BURST) == 0
        begin(stack, budget, "b")
        assert budget.pause(alone, BURST) <= 0
        # Each of two clients has half of the rate.
        assert budget.pause(alone, RATE // 2) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("declared", "received", "spent", "rest"),
    [
        (1_000_000, 500_000, 10, 10),
        (1_000_000, 500_000, 0.1, 1),
        # At this rate it would take longer than its deadline.
        (1000, 1, 2, 28),
        (None, 1, 2, 28),
        (None, 100_000, 2, 2),
    ],
)
def test_seconds_left_follow_the_rate_so_far(
    declared: int | None, received: int, spent: float, rest: float
) -> None:
    upload = Upload("a", declared, began=100.0, deadline=130.0, received=received)
    assert upload.seconds_left(100.0 + spent) == pytest.approx(rest)
