"""The body budget: upload slots, memory and bandwidth that all request bodies share.

A single client may use nearly all of it. When it runs out, a client that uses less than another one evicts
the slowest upload of the client that uses most. So each of n clients can get an n-th of the budget, however
many connections the others open.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, itemgetter

from serving.api.errors import ServerBusy
from serving.server.client_socket import MIN_BYTES_PER_SECOND

# Part of the memory that one client may use with several bodies. It is below 1 because complete bodies, which
# are queued for inference, cannot be evicted.
MAX_CLIENT_SHARE = 0.5
# Bytes per second for all clients together, if there are several: about the rate of a fast network. A client
# may send BURST bytes before they count.
RATE, BURST = 128 * 2**20, 2**20


@dataclass(eq=False)
class Upload:
    """A body, from its first byte until its request is answered. `deadline` is in monotonic time."""

    client: str
    declared: int | None
    began: float
    deadline: float
    # Bytes that were received, and bytes that are kept in memory.
    received: int = 0
    held: int = 0
    # Is it still being received? Does it have an upload slot? Was its slot given to another client?
    receiving: bool = True
    has_slot: bool = False
    evicted: bool = False

    def lead(self, now: float) -> float:
        """Bytes received in excess of the minimum rate."""
        return self.received - MIN_BYTES_PER_SECOND * (now - self.began)

    def seconds_left(self, now: float) -> float:
        """Estimated seconds until it is complete, at its rate so far and at most until its deadline."""
        elapsed, left = max(1.0, now - self.began), max(0.0, self.deadline - now)
        if self.declared is not None:
            return min(left, (self.declared - self.received) * elapsed / max(1, self.received))
        return min(left, elapsed) if self.received >= MIN_BYTES_PER_SECOND * elapsed else left


@dataclass
class _ClientUsage:
    """What one client uses: bodies, bodies being received, upload slots, bytes; and when it may send more."""

    uploads: int = 0
    receiving: int = 0
    slots: int = 0
    held: int = 0
    send_after: float = 0.0


class BodyBudget:
    """`slots`: uploads for which a thread may block on the client at once; `memory`: bytes of all bodies."""

    def __init__(self, slots: int, memory: int) -> None:
        self._slots, self.memory = slots, memory
        self._lock = threading.Lock()
        self._uploads: set[Upload] = set()
        self._usage: dict[str, _ClientUsage] = {}
        self.used_slots = self.held = 0

    @contextmanager
    def upload(self, client: str, declared: int | None, deadline: float) -> Iterator[Upload]:
        """Registers a body, which is kept in memory until the block ends."""
        upload = Upload(client, declared, time.monotonic(), deadline)
        with self._lock:
            self._uploads.add(upload)
            usage = self._usage.setdefault(client, _ClientUsage())
            usage.uploads += 1
            usage.receiving += 1
        try:
            yield upload
        finally:
            with self._lock:
                self._finish(upload)
                self._add_held(upload, -upload.held)
                self._uploads.discard(upload)
                usage.uploads -= 1
                if not usage.uploads:
                    del self._usage[client]

    def acquire_slot(self, upload: Upload, received: int) -> None:
        """Takes an upload slot, before a thread blocks on the client.

        Raises `ServerBusy` if none is free or the upload was evicted.
        """
        upload.received = received
        if upload.has_slot:
            return
        with self._lock:
            if upload.evicted or (
                self.used_slots >= self._slots and not self._evict(upload, attrgetter("slots"), 1)
            ):
                raise ServerBusy(self._retry_after())
            upload.has_slot = True
            self.used_slots += 1
            self._usage[upload.client].slots += 1

    def hold(self, upload: Upload, size: int) -> None:
        """Reserves memory for `size` more bytes of a body, or raises `ServerBusy`."""
        with self._lock:
            usage = self._usage[upload.client]
            exceeded = usage.held > upload.held and usage.held + size > MAX_CLIENT_SHARE * self.memory
            while not (exceeded or upload.evicted) and self.held + size > self.memory:
                exceeded = not self._evict(upload, attrgetter("held"), size)
            if exceeded or upload.evicted:
                raise ServerBusy(self._retry_after())
            self._add_held(upload, size)

    def pause(self, upload: Upload, size: int) -> float:
        """Counts received bytes; returns the seconds to wait before more of this body is read."""
        with self._lock:
            clients = sum(usage.receiving > 0 for usage in self._usage.values())
            if clients < 2:
                return 0.0
            usage, now, rate = self._usage[upload.client], time.monotonic(), RATE / clients
            usage.send_after = max(usage.send_after, now - BURST / rate) + size / rate
            return usage.send_after - now

    def finish(self, upload: Upload) -> None:
        """Releases the upload slot of a body that is complete or has failed; its memory stays reserved."""
        with self._lock:
            self._finish(upload)

    def _finish(self, upload: Upload) -> None:
        usage = self._usage[upload.client]
        usage.receiving -= upload.receiving
        usage.slots -= upload.has_slot
        self.used_slots -= upload.has_slot
        upload.receiving = upload.has_slot = False

    def _add_held(self, upload: Upload, size: int) -> None:
        self.held += size
        self._usage[upload.client].held += size
        upload.held += size

    def _evict(self, newcomer: Upload, amount: Callable[[_ClientUsage], int], more: int) -> bool:
        """Evicts the slowest upload of the client that uses most, if that is more than the newcomer's use.

        `more` is what the newcomer asks for; only uploads with a slot can be evicted.
        """
        wanted, now = amount(self._usage[newcomer.client]) + more, time.monotonic()
        found = [(amount(self._usage[upload.client]), -upload.lead(now), upload) for upload in self._uploads]
        found = [each for each in found if each[0] > wanted and each[2].has_slot]
        if not found:
            return False
        victim = max(found, key=itemgetter(0, 1))[2]
        # Its thread sees the flag at its next check and frees the memory a moment later.
        victim.evicted = True
        self._finish(victim)
        self._add_held(victim, -victim.held)
        return True

    def _retry_after(self) -> int:
        """Whole seconds until the first upload slot is expected to be free."""
        now = time.monotonic()
        seconds = (upload.seconds_left(now) for upload in self._uploads if upload.has_slot)
        return max(1, math.ceil(min(seconds, default=1.0)))
