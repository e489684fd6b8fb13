"""What many pieces of work wait for (in_pieces.py), each under a number: who can go on, at the price of one look."""

import heapq
import os
import select
import threading
import time
import weakref
from collections import deque

from recall_env.in_pieces import Waiting

NEVER = float("inf")
# Where more than MANY wait and fewer than FEW can go on, the others that can within PAUSE_S go on with them: each alone
# would find the processor's caches full of what its tools left there.
MANY, FEW, PAUSE_S = 64, 16, 0.001
LONGEST_LOOK_S = 24 * 3600.0  # epoll counts milliseconds in 32 bits


class Waits:
    """For one thread at a time, but for `wake`.

    A socket stays registered after its wait, which is cheaper than to register it for each; it then tells of every
    change (edge-triggered), to whoever waits by then. In the same way an alarm of an earlier wait serves a later one.
    """

    def __init__(self, size: int) -> None:
        """size: numbers are less than this."""
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._wakes = threading.Lock()
        # By number:
        self._waiting: list[Waiting | None] = [None] * size
        self._registered: list[weakref.ref[Waiting] | None] = [None] * size
        self._next_alarm = [NEVER] * size
        self._numbers: dict[int, int] = {}  # by descriptor
        self._alarms: list[tuple[float, int]] = []  # a heap: when it rings, on the monotonic clock; for which number
        self.count = 0  # how many wait

    def add(self, number: int, waiting: Waiting) -> None:
        """Have `ready` name this number once the wait is over."""
        registered = self._registered[number]
        if registered is None or registered() is not waiting:
            self._register(number, waiting)
        if self._waiting[number] is None:
            self.count += 1
        self._waiting[number] = waiting
        if waiting.deadline < self._next_alarm[number]:
            self._set_alarm(number, waiting.deadline)

    def ready(self, timeout_s: float | None, found: "deque[int]") -> None:
        """Add the numbers whose waits are over, and now forgotten. Waits for the first until timeout_s, or until
        woken. What it had found when it was interrupted is in `found`."""
        self._look(self._until_alarm(timeout_s), found)
        has_time = timeout_s is None or timeout_s > PAUSE_S
        if has_time and 0 < len(found) < FEW and self.count > MANY:
            time.sleep(PAUSE_S)
            self._look(0, found)
        if self._alarms and self._alarms[0][0] <= time.monotonic():
            self._late(found)

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

    def _look(self, timeout_s: float | None, found: "deque[int]") -> None:
        waiting = self._waiting
        for descriptor, _ in self._epoll.poll(timeout_s):
            if descriptor == self._waker:
                os.eventfd_read(self._waker)
            elif waiting[number := self._numbers[descriptor]] is not None:
                found.append(number)
                waiting[number] = None
                self.count -= 1

    def _register(self, number: int, waiting: Waiting) -> None:
        descriptor = waiting.fileno()
        if descriptor < 0:  # closed by somebody else, which its work is to find out
            self._set_alarm(number, 0.0)
            return
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        self._registered[number], self._numbers[descriptor] = weakref.ref(waiting), number

    def _until_alarm(self, timeout_s: float | None) -> float | None:
        if timeout_s == 0 or (timeout_s is None and not self._alarms):
            return timeout_s
        rings_in = max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else NEVER
        return min(NEVER if timeout_s is None else timeout_s, rings_in, LONGEST_LOOK_S)

    def _late(self, found: "deque[int]") -> None:
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            due, number = heapq.heappop(self._alarms)
            if self._next_alarm[number] != due:
                continue  # another one was set, for an earlier time
            self._next_alarm[number] = NEVER
            waiting = self._waiting[number]
            if waiting is not None and waiting.fileno() >= 0 and waiting.deadline > now:
                self._set_alarm(number, waiting.deadline)
            elif waiting is not None:
                found.append(number)
                self._waiting[number] = None
                self.count -= 1

    def _set_alarm(self, number: int, due: float) -> None:
        self._next_alarm[number] = due
        heapq.heappush(self._alarms, (due, number))
