"""Work in pieces: a generator that yields what it waits for, so that one thread can have thousands of them under way.

`step` and `call` are `finish` of such work; EnvPool (vector.py) takes up each piece when its wait is over.
"""

from collections.abc import Callable, Generator
from typing import Any, Protocol

__all__ = ["SLOW", "Pieces", "Slow", "Waiting", "finish", "in_one"]


class Waiting(Protocol):
    """A wait for another process. To go on too early does no harm: the work will wait again."""

    @property
    def deadline(self) -> float:
        """When it is over in any case, on the monotonic clock."""

    def fileno(self) -> int:
        """What can be read once there is something to go on with."""

    def wait(self) -> None:
        """Until that, or until the deadline."""


class Slow:
    """What comes next may take long and cannot be waited for in any better way than in a thread of its own."""

    def wait(self) -> None:
        """Nothing: the waiting is in what comes next."""


SLOW = Slow()

type Pieces[T] = Generator[Waiting | Slow, None, T]


def finish[T](pieces: Pieces[T]) -> T:
    """Do what is left of it in this thread; what it returns. Raises what it raises."""
    try:
        while True:
            next(pieces).wait()
    except StopIteration as end:
        return end.value


def in_one[T](do: Callable[..., T], *arguments: Any, **more: Any) -> Pieces[T]:
    """What cannot be done in pieces, and may take long."""
    yield SLOW
    return do(*arguments, **more)
