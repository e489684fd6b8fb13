"""Threads for what may take long and can be waited for in no better way: made when all others are at work."""

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Workers:
    """Up to `most` daemon threads. One that is dropped, like one that is dismissed, ends when its jobs have.

    Not a ThreadPoolExecutor: nobody here would ask for a job's result, and its threads keep the process from ending.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle: deque[None] = deque()  # an entry for each that has nothing to do
        self._dismissed = threading.Event()
        self._end = weakref.finalize(self, _dismiss, self._jobs, self._threads, self._dismissed)

    def do(self, job: Job) -> None:
        """Have a worker do it; it must not raise. To be called from one thread at a time."""
        if self._idle:
            self._idle.pop()
        elif len(self._threads) < self._most:
            name = f"{self._name}_{len(self._threads)}"
            shared = self._jobs, self._idle, self._dismissed
            thread = threading.Thread(target=_work, args=shared, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._jobs.put(job)

    def dismiss(self) -> None:
        """Drop the jobs that no worker has begun, and wait for the others. Harmless twice."""
        self._end()
        for thread in self._threads:
            thread.join()


def _work(jobs: "queue.SimpleQueue[Job | None]", idle: "deque[None]", dismissed: threading.Event) -> None:
    """Holds no Workers, so that those that are dropped can end."""
    while (job := jobs.get()) is not None and not dismissed.is_set():
        job()
        del job  # or, waiting for the next, it would hold whatever that holds
        idle.append(None)


def _dismiss(
    jobs: "queue.SimpleQueue[Job | None]", threads: list[threading.Thread], dismissed: threading.Event
) -> None:
    dismissed.set()
    for _ in threads:
        jobs.put(None)
