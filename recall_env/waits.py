"""What many pieces of work wait for (in_pieces.py), each under a number: who can go on, at the price of one look."""

import heapq
import os
import select
import threading
import time
import weakref

from recall_env.in_pieces import Waiting


class Waits:
    """For one thread at a time, but for `wake`.

    A socket stays registered after its wait, which is cheaper than to register it for each; it then tells of every
    change (edge-triggered), to whoever waits by then. In the same way an alarm of an earlier wait serves a later one.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._wakes = threading.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._registered: dict[int, weakref.ref[Waiting]] = {}  # by number
        self._numbers: dict[int, int] = {}  # by descriptor
        self._alarms: list[tuple[float, int]] = []  # a heap: when it rings, on the monotonic clock; for which number
        self._next_alarm: dict[int, float] = {}

    def add(self, number: int, waiting: Waiting) -> None:
        """Have `ready` name this number once the wait is over."""
        registered = self._registered.get(number)
        if registered is None or registered() is not waiting:
            descriptor = waiting.fileno()
            if descriptor < 0:  # closed by somebody else: nothing will come of it, which its work finds out
                self._set_alarm(number, 0.0)
            else:
                self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
                self._registered[number], self._numbers[descriptor] = weakref.ref(waiting), number
        self._waiting[number] = waiting
        due = time.monotonic() + waiting.remaining_s
        if due < self._next_alarm.get(number, float("inf")):
            self._set_alarm(number, due)

    @property
    def any(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def ready(self, timeout_s: float | None) -> list[int]:
        """The numbers whose waits are over, and now forgotten. Waits for the first until timeout_s, or until woken."""
        found = []
        for descriptor, _ in self._epoll.poll(self._until_alarm(timeout_s)):
            if descriptor == self._waker:
                os.eventfd_read(self._waker)
            elif self._waiting.pop(number := self._numbers.get(descriptor, -1), None) is not None:
                found.append(number)
        return found + self._late() if self._alarms else found

    def wake(self) -> None:
        """From any thread: have `ready` return, now or when it is next called."""
        with self._wakes:
            if not self._epoll.closed:
                os.eventfd_write(self._waker, 1)

    def close(self) -> None:
        """`wake` then does nothing."""
        with self._wakes:
            self._epoll.close()
            os.close(self._waker)

    def _until_alarm(self, timeout_s: float | None) -> float | None:
        if not self._alarms or timeout_s == 0:
            return timeout_s
        rings_in = max(0.0, self._alarms[0][0] - time.monotonic())
        return rings_in if timeout_s is None else min(timeout_s, rings_in)

    def _late(self) -> list[int]:
        found, now = [], time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            due, number = heapq.heappop(self._alarms)
            if self._next_alarm.get(number) != due:
                continue  # another one was set for an earlier time
            del self._next_alarm[number]
            waiting = self._waiting.get(number)
            if waiting is None:
                continue
            if waiting.remaining_s > 0:
                self._set_alarm(number, now + waiting.remaining_s)
            else:
                del self._waiting[number]
                found.append(number)
        return found

    def _set_alarm(self, number: int, due: float) -> None:
        self._next_alarm[number] = due
        heapq.heappush(self._alarms, (due, number))
