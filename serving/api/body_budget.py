"""What all bodies together may take: threads that wait for clients, memory, and bytes a second.

A single client may have nearly all of it. When it runs out, a client that has less than another takes the
place of the slowest body of the one that has most; so with n clients each of them can have an n-th, however
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

# What one client may hold of the memory with several bodies: whole ones, which wait for their turn, cannot be
# sent away.
SHARE = 0.5
# Bytes a second for all clients together where there is more than one: as much as a fast network brings. Each
# may have so many at once before they count.
RATE, BURST = 128 * 2**20, 2**20


@dataclass(eq=False)
class Upload:
    """A body, from its first byte until its request is answered. `deadline` is a monotonic moment."""

    client: str
    declared: int | None
    began: float
    deadline: float
    # Bytes that came, and those that are kept.
    received: int = 0
    held: int = 0
    # Is it still coming? Has it a thread that waits for the client? Has another client taken its place?
    coming: bool = True
    waits: bool = False
    evicted: bool = False

    def lead(self, now: float) -> float:
        """How many bytes it is ahead of the least rate."""
        return self.received - MIN_BYTES_PER_SECOND * (now - self.began)

    def rest(self, now: float) -> float:
        """How many seconds it will still take if it goes on as it has begun, and no more than it may."""
        spent, left = max(1.0, now - self.began), max(0.0, self.deadline - now)
        if self.declared is not None:
            return min(left, (self.declared - self.received) * spent / max(1, self.received))
        return min(left, spent) if self.received >= MIN_BYTES_PER_SECOND * spent else left


@dataclass
class _Share:
    """What one client has: bodies, those of them that are still coming, bytes, and when it may send more."""

    uploads: int = 0
    coming: int = 0
    waiting: int = 0
    held: int = 0
    due: float = 0.0


class BodyBudget:
    """`places`: bodies whose clients are waited for; `memory`: bytes that are kept of all bodies."""

    def __init__(self, places: int, memory: int) -> None:
        self._places, self._memory = places, memory
        self._lock = threading.Lock()
        self._uploads: set[Upload] = set()
        self._shares: dict[str, _Share] = {}
        self.waiting = self.held = 0

    @contextmanager
    def upload(self, client: str, declared: int | None, deadline: float) -> Iterator[Upload]:
        """A body that begins now, and is kept until the block ends."""
        upload = Upload(client, declared, time.monotonic(), deadline)
        with self._lock:
            self._uploads.add(upload)
            share = self._shares.setdefault(client, _Share())
            share.uploads += 1
            share.coming += 1
        try:
            yield upload
        finally:
            with self._lock:
                self._finish(upload)
                self._keep(upload, -upload.held)
                self._uploads.discard(upload)
                share.uploads -= 1
                if not share.uploads:
                    del self._shares[client]

    def wait(self, upload: Upload, received: int) -> None:
        """Gives a body a place to wait for its client; `ServerBusy` if it has none, or not any more."""
        upload.received = received
        if upload.waits:
            return
        with self._lock:
            if upload.evicted or (
                self.waiting >= self._places and not self._evict(upload, attrgetter("waiting"), 1)
            ):
                raise ServerBusy(self._retry_after())
            upload.waits = True
            self.waiting += 1
            self._shares[upload.client].waiting += 1

    def hold(self, upload: Upload, size: int) -> None:
        """Keeps some bytes of a body, or raises `ServerBusy`."""
        with self._lock:
            share = self._shares[upload.client]
            crowding = share.held > upload.held and share.held + size > SHARE * self._memory
            while not (crowding or upload.evicted) and self.held + size > self._memory:
                crowding = not self._evict(upload, attrgetter("held"), size)
            if crowding or upload.evicted:
                raise ServerBusy(self._retry_after())
            self._keep(upload, size)

    def pause(self, upload: Upload, size: int) -> float:
        """Counts bytes that came, and tells for how many seconds no more of this body shall be read."""
        with self._lock:
            clients = sum(share.coming > 0 for share in self._shares.values())
            if clients < 2:
                return 0.0
            share, now, rate = self._shares[upload.client], time.monotonic(), RATE / clients
            share.due = max(share.due, now - BURST / rate) + size / rate
            return share.due - now

    def finish(self, upload: Upload) -> None:
        """All of a body has come, or no more will: nobody waits for its client."""
        with self._lock:
            self._finish(upload)

    def _finish(self, upload: Upload) -> None:
        share = self._shares[upload.client]
        share.coming -= upload.coming
        share.waiting -= upload.waits
        self.waiting -= upload.waits
        upload.coming = upload.waits = False

    def _keep(self, upload: Upload, size: int) -> None:
        self.held += size
        self._shares[upload.client].held += size
        upload.held += size

    def _evict(self, newcomer: Upload, amount: Callable[[_Share], int], more: int) -> bool:
        """Ends the slowest body of the client that has most, if that is more than the newcomer would have."""
        fair, now = amount(self._shares[newcomer.client]) + more, time.monotonic()
        found = [(amount(self._shares[upload.client]), -upload.lead(now), upload) for upload in self._uploads]
        found = [each for each in found if each[0] > fair and each[2].waits]
        if not found:
            return False
        victim = max(found, key=itemgetter(0, 1))[2]
        # Its thread sees it when it looks next, and its memory is free a moment later.
        victim.evicted = True
        self._finish(victim)
        self._keep(victim, -victim.held)
        return True

    def _retry_after(self) -> int:
        """Whole seconds until a place is free, as far as those can tell whose bodies are coming."""
        now = time.monotonic()
        rests = (upload.rest(now) for upload in self._uploads if upload.waits)
        return max(1, math.ceil(min(rests, default=1.0)))
