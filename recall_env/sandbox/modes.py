"""How long an interpreter serves: the whole episode (`stateful`, `fresh`) or one call (`process`).

The first two are the guest's doing (guest.py); the third is a row of episodes of one call each, made here.
"""

from collections.abc import Callable
from typing import Any

from recall_env.errors import SandboxFailure
from recall_env.in_pieces import SLOW, Pieces, finish
from recall_env.sandbox.episode import Episode
from recall_env.sandbox.session import Mode, Session
from recall_env.tool_call import ToolResult

Start = Callable[[], Episode]  # an episode whose source is yet to be loaded


def open_session(start: Start, source: str, state: Any, mode: Mode) -> Pieces[Session]:
    """A session whose source stands; nothing is left when it does not."""
    if mode == "process":
        yield SLOW
        return PerCallSession(start, source, state)
    return (yield from _loaded(_begin(start, source, state, mode)))


class PerCallSession:
    """A Session in which every call has an interpreter of its own, ended after it.

    The next one is forked and loads its source while the host goes on with what the last one answered.
    """

    def __init__(self, start: Start, source: str, state: Any) -> None:
        self._start, self._source, self._state = start, source, state
        self._next: Episode | None = finish(_loaded(self._begin()))
        self._current: Episode | None = None  # in a call
        self._stands = True  # the next one has its source loaded
        self._closed = False

    def call(self, name: str, arguments: dict[str, Any], timeout_s: float | None = None) -> ToolResult:
        if self._closed:
            raise SandboxFailure("this session is closed; open another one")
        episode = self._current = self._next or self._begin()
        self._next = None
        try:
            if not self._stands:
                finish(episode.load_in_pieces())
            result = episode.call(name, arguments, timeout_s)
        finally:
            episode.close()
            self._current = None
        if not self._closed:
            self._next, self._stands = self._begin(), False
        if self._closed and self._next is not None:  # meanwhile, by another thread
            self._next.close()
        return result

    def close(self) -> None:
        """Also from another thread, in the middle of a call, which then fails."""
        self._closed = True
        for episode in (self._next, self._current):
            if episode is not None:
                episode.close()

    def _begin(self) -> Episode:
        return _begin(self._start, self._source, self._state, "stateful")


def _begin(start: Start, source: str, state: Any, mode: Mode) -> Episode:
    episode = start()
    try:
        episode.begin_load(source, state, mode)
    except BaseException:
        episode.close()
        raise
    return episode


def _loaded(episode: Episode) -> Pieces[Episode]:
    try:
        yield from episode.load_in_pieces()
    except BaseException:
        episode.close()
        raise
    return episode
