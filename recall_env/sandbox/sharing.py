"""Inside the jail, before the zygote forks: what lets thousands of episodes share one interpreter's memory.

A fork shares all memory until somebody writes to it, page by page. CPython writes to every object that it looks at:
its count of references stands in it. An immortal object (PEP 683; None is one) is not counted, so an episode that only
uses what the zygote imported leaves it shared. And CPython puts new objects into the gaps between old ones, which
takes a page of neighbours along each time; with the gaps filled, they lie together in pages of their own.
What an episode weighs is measured by `python -m benchmarks.sandbox live`. Standard library only.
"""

import ctypes
import gc
import sys
import types
from typing import Any

ALIVE = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)  # these do end

# Of CPython's own allocator (Objects/obmalloc.c): blocks of these sizes, each in a pool of blocks of one size.
SIZES = range(16, 513, 16)
POOL_BYTES, POOL_HEADER_BYTES = 1 << 14, 48
MOST_GAPS = 1200  # of one size; where an interpreter has no such pools, one never begins

_fillers: list[Any] = []
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own


def prepare() -> None:
    """Once, after all imports and before the first fork."""
    gc.collect()
    immortalise()
    fill_gaps()
    gc.freeze()  # or the first collection in an episode would write to all of it


def fill_gaps() -> None:
    """Until each size has a new pool: its header and its next block are then in one page, which is all that an episode
    copies to make its first object of that size."""
    for size in SIZES:
        first = 0  # of a pool's blocks; in a new pool the next one follows, in the gap of an old one hardly ever
        for number in range(MOST_GAPS):
            filler = _filler(size, number)
            _fillers.append(filler)
            if id(filler) == first + size:
                break
            first = id(filler) if id(filler) % POOL_BYTES == POOL_HEADER_BYTES else 0


def _filler(size: int, number: int) -> object:
    """An object in a block of this size, and no other."""
    if size == 16:
        return object()
    return (1 << 29) + number if size == 32 else bytes(size - sys.getsizeof(b""))


def give_back() -> None:
    """In an episode, once its source is loaded: the memory that compiling took and nobody needs any more."""
    if _trim is not None:
        _trim(0)


def immortalise() -> int:
    """Do it to all there is now, and say to how many objects; to none where this interpreter counts in another way."""
    if not sys.version_info >= (3, 12) or not _counts_in_the_first_word():
        return 0
    value = ctypes.c_uint32.from_address(id(None)).value
    todo: list[Any] = [*gc.get_objects(), sys.modules]
    found: dict[int, Any] = {}  # holds them, so that no address in it is another object's by the time it is written
    while todo:
        item = todo.pop()
        if id(item) not in found and not isinstance(item, ALIVE):
            found[id(item)] = item
            todo.extend(_parts(item))
    for own in (id(todo), id(found)):
        found.pop(own, None)
    for address in found:
        ctypes.c_uint32.from_address(address).value = value
    return len(found)


def _parts(item: Any) -> list[Any]:
    if isinstance(item, types.CodeType):  # the collector does not look into these
        return [item.co_consts, item.co_names, item.co_name, item.co_qualname, item.co_filename]
    return gc.get_referents(item)


def _counts_in_the_first_word() -> bool:
    """One more reference to an object makes the first half word of it grow by one."""
    probe = [object()]
    address = id(probe[0])
    before = ctypes.c_uint32.from_address(address).value
    probe.append(probe[0])
    return ctypes.c_uint32.from_address(address).value == before + 1
