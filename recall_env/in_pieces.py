"""Work in pieces: a generator that yields what it waits for, so that one thread can have thousands of them under way.

`step` and `call` are `finish` of such work; EnvPool (vector.py) takes up each piece when its wait is over.
"""

import functools
from collections.abc import Callable, Generator
from typing import Any, Protocol

__all__ = ["SLOW", "Pieces", "Slow", "Waiting", "at_once", "finish", "in_one", "pieces_of"]


class Waiting(Protocol):
    """A wait for another process. To go on too early does no harm: the work will wait again.

    The same object for every wait on a descriptor, of a class that can be weakly referenced. The work reads all there
    is before it waits again.
    """

    @property
    def deadline(self) -> float:
        """When it is over in any case, on the monotonic clock."""

    def fileno(self) -> int:
        """What can be read once there is something to go on with; -1 once that is closed."""

    def wait(self) -> None:
        """Until that, or until the deadline."""


class Slow:
    """What comes next, up to the next wait, may take long, and needs a thread of its own while it does."""

    def wait(self) -> None:
        """Nothing: the waiting is in what comes next."""


SLOW = Slow()

type Pieces[T] = Generator[Waiting | Slow, None, T]


def finish[T](pieces: Pieces[T]) -> T:
    """Do what is left of it in this thread; what it returns. Raises what it raises, or what interrupts a wait."""
    try:
        while True:
            next(pieces).wait()
    except StopIteration as end:
        return end.value
    except BaseException:
        pieces.close()
        raise


def pieces_of(owner: object, do: str) -> Callable[..., Pieces[Any]]:
    """The method `do` of an object as work in pieces: its own `do_in_pieces`, or in one. A class that overrides `do`
    alone means it."""
    for kind in type(owner).__mro__:
        if do in vars(kind):
            if f"{do}_in_pieces" in vars(kind):
                return getattr(owner, f"{do}_in_pieces")
            break
    return functools.partial(in_one, getattr(owner, do))


def in_one[T](do: Callable[..., T], *arguments: Any, **more: Any) -> Pieces[T]:
    """What cannot be done in pieces, and may take long."""
    yield SLOW
    return do(*arguments, **more)


def at_once[T](value: T) -> Pieces[T]:
    """What is there already."""
    return value
    yield
