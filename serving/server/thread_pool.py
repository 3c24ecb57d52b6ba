"""A thread pool that runs at most `size` tasks at a time; more would only compete for the GIL.

With a thread for every request the cores were idle for a fifth of the time, because threads that held an
inference slot waited for the GIL behind threads that had none. Here a thread that finishes a task takes the
next one from the queue itself, without a context switch. While a thread blocks on a client's socket it gives
up its slot, so slow clients do not delay others. Each client has a queue of its own and the queues are served
in turn (round robin), so one client's many requests delay only that client.
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
    """A task, the client that it belongs to, and when it was submitted (monotonic seconds)."""

    client: str
    task: Task
    submitted: float


class ThreadUnavailable(RuntimeError):
    """The pool has no thread and the system does not grant one."""


class ThreadPool:
    """At most `size` tasks run, further ones are queued.

    `max_threads` also counts the threads that have given up their slot. Threads start on demand.
    """

    def __init__(self, name: str, size: int, max_threads: int) -> None:
        self._name, self.size, self._max_threads = name, size, max_threads
        # Reentrant: a signal handler may call `shutdown` while the main thread holds the lock.
        self._lock = threading.RLock()
        # Queued jobs by client, in round-robin order: the first client is the next.
        self._queues: dict[str, deque[Job]] = {}
        # Unfinished jobs by client, queued or running.
        self._unfinished: Counter[str] = Counter()
        # Number of queued jobs.
        self.waiting = 0
        self._idle: list[PoolThread] = []
        self._threads = 0
        # Number of slots in use: started tasks that have not yielded or released their slot.
        self.running = 0
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether every slot is in use, so that a new task would be queued."""
        return self.running >= self.size

    def submit(self, task: Task, client: str = "") -> None:
        """Runs a task, at once or when its client's turn comes; raises `ThreadUnavailable`."""
        job = Job(client, task, time.monotonic())
        with self._lock:
            # Behind queued jobs even if a slot is free: the thread that freed it takes the first of them.
            if self.waiting or self.full or not self._start(job):
                if not self._threads:
                    raise ThreadUnavailable
                self._queues.setdefault(client, deque()).append(job)
                self.waiting += 1
            self._unfinished[client] += 1

    def evict_newest(self, client: str) -> Task | None:
        """Removes and returns the newest queued task of the client with the most unfinished jobs.

        None if that client would not have more jobs than `client` with one more. The caller refuses the task.
        """
        with self._lock:
            busiest = max(self._queues, key=self._unfinished.__getitem__, default=client)
            if self._unfinished[busiest] <= self._unfinished[client] + 1:
                return None
            job = self._queues[busiest].pop()
            if not self._queues[busiest]:
                del self._queues[busiest]
            self.waiting -= 1
            self._count_finished(job)
            return job.task

    def start_overdue(self, seconds: float) -> None:
        """Starts jobs that have been queued for `seconds`, beyond `size` but within `max_threads`."""
        with self._lock:
            while self.waiting:
                oldest = min((queue[0] for queue in self._queues.values()), key=attrgetter("submitted"))
                if oldest.submitted + seconds > time.monotonic() or not self._start_next(oldest.client):
                    return

    @contextmanager
    def yield_slot(self, thread: "PoolThread") -> Iterator[None]:
        """Frees the thread's slot during the block, and starts the next job in it."""
        with self._lock:
            held = thread.holds_slot
            self._set_slot(thread, False)
            if self.waiting and not self.full:
                self._start_next(self._next_client)
        try:
            yield
        finally:
            with self._lock:
                self._set_slot(thread, held)

    def release_slot(self, thread: "PoolThread") -> None:
        """Frees the slot of a thread whose task is all but finished."""
        with self._lock:
            self._set_slot(thread, False)

    def shutdown(self, wait: bool = True) -> None:
        """Ends each thread once it has no job left. Gunicorn calls it with `wait=False`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._threads -= len(idle)
        for thread in idle:
            thread.wake.release()
        for thread in idle if wait else ():
            thread.join()

    def next_job(self, thread: "PoolThread", finished: Job) -> Job | None:
        """The thread's next job, for which it sleeps if the queue is empty; None to end the thread."""
        with self._lock:
            self._set_slot(thread, False)
            self._count_finished(finished)
            if self.waiting and not self.full:
                self._set_slot(thread, True)
                return self._dequeue(self._next_client)
            if self._closed or len(self._idle) >= self.size:
                self._threads -= 1
                return None
            thread.job = None
            self._idle.append(thread)
        thread.wake.acquire()
        return thread.job

    def _set_slot(self, thread: "PoolThread", holds: bool) -> None:
        self.running += holds - thread.holds_slot
        thread.holds_slot = holds

    @property
    def _next_client(self) -> str:
        return next(iter(self._queues))

    def _count_finished(self, job: Job) -> None:
        self._unfinished[job.client] -= 1
        if not self._unfinished[job.client]:
            del self._unfinished[job.client]

    def _dequeue(self, client: str) -> Job:
        """Takes a client's first job and moves the client to the end of the round."""
        queue = self._queues.pop(client)
        self.waiting -= 1
        job = queue.popleft()
        if queue:
            self._queues[client] = queue
        return job

    def _start_next(self, client: str) -> bool:
        """Starts a client's first queued job, if there is a thread for it."""
        if started := self._start(self._queues[client][0]):
            self._dequeue(client)
        return started

    def _start(self, job: Job) -> bool:
        """Hands a job to an idle thread or a new one, if there is one."""
        if self._idle:
            # The most recently busy thread: its stack is still in the cache.
            thread = self._idle.pop()
            thread.job = job
            self._set_slot(thread, True)
            thread.wake.release()
        elif self._threads < self._max_threads:
            thread = PoolThread(self, job, self._name)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._threads += 1
            self._set_slot(thread, True)
        else:
            return False
        return True


class PoolThread(threading.Thread):
    """A thread of a `ThreadPool`."""

    def __init__(self, pool: ThreadPool, job: Job, name: str) -> None:
        super().__init__(name=name)
        self.pool = pool
        self.job: Job | None = job
        self.holds_slot = False
        # Called when the response has been sent.
        self.afterwards: list[Task] = []
        # Held while the thread is idle; released to wake it.
        self.wake = threading.Lock()
        self.wake.acquire()

    def run(self) -> None:
        """Runs one job after another."""
        job = self.job
        while job is not None:
            try:
                job.task()
            # An exception that ended the thread would cost the pool one thread for good.
            except Exception:  # noqa: BLE001
                LOG.exception("a task failed")
            job = self.pool.next_job(self, job)


@contextmanager
def yield_slot() -> Iterator[None]:
    """Gives up the current thread's slot during the block, which waits for a client or sleeps.

    Has no effect outside a pool.
    """
    thread = threading.current_thread()
    if isinstance(thread, PoolThread):
        with thread.pool.yield_slot(thread):
            yield
    else:
        yield


def run_after_response(task: Task) -> None:
    """Runs a short task when the current thread has sent its response; at once outside a pool."""
    thread = threading.current_thread()
    if isinstance(thread, PoolThread):
        thread.afterwards.append(task)
    else:
        task()


def finish_response() -> None:
    """Runs what was to be run after the response; called by a thread of a pool."""
    thread = threading.current_thread()
    if isinstance(thread, PoolThread):
        tasks, thread.afterwards = thread.afterwards, []
        for task in tasks:
            task()


def release_slot() -> None:
    """Gives up the current thread's slot for good: its task is all but finished."""
    thread = threading.current_thread()
    if isinstance(thread, PoolThread):
        thread.pool.release_slot(thread)


@contextmanager
def acquire_yielding_slot(lock: "threading.Lock | threading.Semaphore") -> Iterator[None]:
    """Holds a lock during the block, and gives up the thread's slot while it waits for the lock."""
    if not lock.acquire(blocking=False):
        with yield_slot():
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
