"""Threads that answer requests, few of them at once, because all of them share one interpreter.

Each thread with something to do in Python takes the interpreter from the others. With a thread for every
request the cores stood idle for a fifth of the time, while threads that held a slot waited behind others that
had none. Here the next request begins when one is done, in the same thread, without a change of threads.
Whoever waits for a client steps aside meanwhile: a slow network holds up nobody else. Each client has a line
of its own, and they take turns: one that asks much waits for itself.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import NamedTuple

from serving.log import LOG

Task = Callable[[], object]


class Job(NamedTuple):
    """A task, whose it is, and when it came."""

    client: str
    task: Task
    came: float


class NoThread(RuntimeError):
    """The system gives not a single thread."""


class Crew:
    """Up to `size` tasks are at work, the others wait in line; `most`: threads, those aside included."""

    def __init__(self, name: str, size: int, most: int) -> None:
        self._name, self._size, self._most = name, size, most
        # Reentrant: a signal may end the process while its main thread is in here.
        self._lock = threading.RLock()
        # What waits, by client. The first client is the next.
        self._lines: dict[str, deque[Job]] = {}
        # How many jobs each client has that are not done.
        self._jobs: Counter[str] = Counter()
        # How many tasks wait.
        self.waiting = 0
        self._idle: list[_Member] = []
        self._members = 0
        # How many tasks are at work: begun, not aside, not all but done.
        self.working = 0
        self._closed = False

    @property
    def full(self) -> bool:
        """Would a task that comes now have to wait?"""
        return self.working >= self._size

    def submit(self, task: Task, client: str = "") -> None:
        """Has a task done in its client's turn; raises `NoThread` if that would be never."""
        job = Job(client, task, time.monotonic())
        with self._lock:
            # Behind those that wait, even if a place is free: whoever left it takes the first of them.
            if self.waiting or self.full or not self._begin(job):
                if not self._members:
                    raise NoThread
                self._lines.setdefault(client, deque()).append(job)
                self.waiting += 1
            self._jobs[client] += 1

    def displace(self, client: str) -> Task | None:
        """Takes out the newest task of the client with most of them, if one more is less than these."""
        with self._lock:
            most = max(self._lines, key=self._jobs.__getitem__, default=client)
            if self._jobs[most] <= self._jobs[client] + 1:
                return None
            job = self._lines[most].pop()
            if not self._lines[most]:
                del self._lines[most]
            self.waiting -= 1
            self._done(job)
            return job.task

    def hurry(self, seconds: float) -> None:
        """Begins what has been in the line for so long, as far as there are threads."""
        with self._lock:
            while self.waiting:
                first = min((line[0] for line in self._lines.values()), key=attrgetter("came"))
                if first.came + seconds > time.monotonic() or not self._begin_first(first.client):
                    return

    @contextmanager
    def aside(self, member: "_Member") -> Iterator[None]:
        """Another task may go on while a thread waits for what is not the processor."""
        with self._lock:
            counted = member.counted
            self._count(member, False)
            if self.waiting and not self.full:
                self._begin_first(self._next_client)
        try:
            yield
        finally:
            with self._lock:
                self._count(member, counted)

    def leave(self, member: "_Member") -> None:
        """What a thread does is all but done, and a place is free for what comes now."""
        with self._lock:
            self._count(member, False)

    def shutdown(self, wait: bool = True) -> None:
        """Ends each thread once it has nothing to do. Gunicorn calls it, and does not `wait`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._members -= len(idle)
        for member in idle:
            member.bell.release()
        for member in idle if wait else ():
            member.join()

    def next(self, member: "_Member", done: Job) -> Job | None:
        """What a thread does when it is done: the next in the line, or what comes while it sleeps."""
        with self._lock:
            self._count(member, False)
            self._done(done)
            if self.waiting and not self.full:
                self._count(member, True)
                return self._take(self._next_client)
            if self._closed or len(self._idle) >= self._size:
                self._members -= 1
                return None
            member.job = None
            self._idle.append(member)
        member.bell.acquire()
        return member.job

    def _count(self, member: "_Member", works: bool) -> None:
        self.working += works - member.counted
        member.counted = works

    @property
    def _next_client(self) -> str:
        return next(iter(self._lines))

    def _done(self, job: Job) -> None:
        self._jobs[job.client] -= 1
        if not self._jobs[job.client]:
            del self._jobs[job.client]

    def _take(self, client: str) -> Job:
        """The first job of a client, whose next one comes after those of all others."""
        line = self._lines.pop(client)
        self.waiting -= 1
        job = line.popleft()
        if line:
            self._lines[client] = line
        return job

    def _begin_first(self, client: str) -> bool:
        """Is there a thread for the first job of a client?"""
        if begun := self._begin(self._lines[client][0]):
            self._take(client)
        return begun

    def _begin(self, job: Job) -> bool:
        """Is there a thread for it?"""
        if self._idle:
            # The one that was busy last: its stack is still in the cache.
            member = self._idle.pop()
            member.job = job
            self._count(member, True)
            member.bell.release()
        elif self._members < self._most:
            member = _Member(self, job, self._name)
            try:
                member.start()
            except RuntimeError:
                return False
            self._members += 1
            self._count(member, True)
        else:
            return False
        return True


class _Member(threading.Thread):
    """A thread of a crew."""

    def __init__(self, crew: Crew, job: Job, name: str) -> None:
        super().__init__(name=name)
        self.crew = crew
        self.job: Job | None = job
        self.counted = False
        # Shut until there is something to do.
        self.bell = threading.Lock()
        self.bell.acquire()

    def run(self) -> None:
        """One job after another."""
        job = self.job
        while job is not None:
            try:
                job.task()
            # A thread less would be missing for ever.
            except Exception:  # noqa: BLE001
                LOG.exception("a task failed")
            job = self.crew.next(self, job)


@contextmanager
def aside() -> Iterator[None]:
    """The thread waits for a client. If it is one of a crew, another one may go on."""
    thread = threading.current_thread()
    if isinstance(thread, _Member):
        with thread.crew.aside(thread):
            yield
    else:
        yield


def leave() -> None:
    """The thread has all but done its task. If it is one of a crew, another task may begin."""
    thread = threading.current_thread()
    if isinstance(thread, _Member):
        thread.crew.leave(thread)


@contextmanager
def holding(lock: "threading.Lock | threading.Semaphore") -> Iterator[None]:
    """Holds a lock that others may hold for long; whoever has to wait for it steps aside."""
    if not lock.acquire(blocking=False):
        with aside():
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
