"""Compiled tool sources, shared between the episodes of a pool: a group plays one task many times over.

An episode that must compile its source sends the code on, before it runs any of it, and the next ones of that source
are given it. The host never looks inside (it is `marshal`, which only a jailed interpreter may read) and keeps it under
the text of the source, so the worst that a source can do to its code is to change what that very source does; and
nothing that runs in an episode, and no model that plays it, can change it any more.
"""

import threading
from collections import OrderedDict

CAPACITY_CHARS = 64 * 2**20  # a byte each, of ASCII


class CompiledSources:
    """The codes of the sources used last. Thread-safe."""

    def __init__(self, capacity_chars: int = CAPACITY_CHARS) -> None:
        """capacity_chars: of sources and codes together."""
        self._capacity_chars, self._chars = capacity_chars, 0
        self._codes: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: str) -> str | None:
        with self._lock:
            if source in self._codes:
                self._codes.move_to_end(source)
            return self._codes.get(source)

    def put(self, source: str, code: str) -> None:
        """The first one of a source stays. One too large for all of the capacity is not kept."""
        size = len(source) + len(code)
        with self._lock:
            if source in self._codes or size > self._capacity_chars:
                return
            self._codes[source] = code
            self._chars += size
            while self._chars > self._capacity_chars:
                old_source, old_code = self._codes.popitem(last=False)
                self._chars -= len(old_source) + len(old_code)

    def __len__(self) -> int:
        return len(self._codes)
