"""Which core runs what. Everything a thread starts inherits its cores, so a jail is pinned by who opens it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

CORES = sorted(os.sched_getaffinity(0))
FIRST, LAST = CORES[0], CORES[-1]  # what is measured, and where a baseline's client may stay out of its way
ALL = set(CORES)


@contextmanager
def on(*cores: int) -> Iterator[None]:
    """This thread, and whatever it starts meanwhile, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
