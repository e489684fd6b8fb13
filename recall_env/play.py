"""Plays episodes: one, in the caller's thread; or many over an EnvPool, each at its own pace.

Agents' turns, which wait for an endpoint, have threads of their own: a slow tool holds up nobody's turn, and a slow
agent nobody's tools. Not here: what an episode is (env.py), what is counted (evaluate.py).
"""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from recall_env.agent import Agent, AgentFailure, TurnRefused
from recall_env.dialect import Dialect
from recall_env.dialect.base import Message
from recall_env.env import SynToolEnv
from recall_env.episode_file import Transcript
from recall_env.errors import EnvError, RecallError
from recall_env.task import Task
from recall_env.vector import EnvPool, Event

__all__ = ["AgentOf", "Ended", "Play", "Watcher", "play", "play_all"]

AgentOf = Callable[[Task, int, Dialect], Agent]  # (task, seed, dialect) -> who plays that episode
OWN_FAULTS = (AgentFailure, TurnRefused, EnvError)  # they end one episode; anything else ends all


class Watcher(Protocol):
    """Who looks on while an episode is played."""

    def began(self, info: dict[str, Any]) -> None:
        """What `reset` said."""

    def wrote(self, action: str) -> None:
        """The agent's turn, before its calls run."""

    def stepped(self, info: dict[str, Any]) -> None:
        """What `step` said to that turn."""


def play(
    env: SynToolEnv,
    agent: Agent,
    task: Task,
    seed: int,
    transcript: Transcript | None = None,
    watcher: Watcher | None = None,
) -> tuple[list[Message], list[dict[str, Any]], float]:
    """One episode: its messages, assistant turns included; the info of each step; the reward.

    transcript: filled as the episode goes, for who wants what was played of one that raises.
    """
    transcript = Transcript() if transcript is None else transcript
    _, info = env.reset(seed=seed, options={"task": task})
    transcript.begin(info)
    if watcher is not None:
        watcher.began(info)
    ended = False
    while not ended:
        action = _turn(agent, transcript, env.dialect)
        if watcher is not None:
            watcher.wrote(action)
        _, reward, terminated, truncated, info = env.step(action)
        transcript.step(env.dialect, action, reward, info)
        if watcher is not None:
            watcher.stepped(info)
        ended = terminated or truncated
    return transcript.messages, transcript.infos, transcript.reward


@dataclass(frozen=True)
class Play:
    """One episode to play. number: for who asked for it."""

    number: int
    task: Task
    seed: int


@dataclass(frozen=True)
class Ended:
    """What came of it. fault: what ended it early, one of OWN_FAULTS; the transcript goes as far as it was played."""

    play: Play
    transcript: Transcript
    fault: RecallError | None = None


def play_all(
    plays: Iterable[Play],
    make_env: Callable[[], SynToolEnv],
    agent_of: AgentOf,
    dialect: Dialect,
    *,
    concurrency: int,
    on_end: Callable[[Ended], None],
) -> None:
    """Play them, at most `concurrency` at a time; on_end is called for each, one at a time, in the order they end.

    plays: drawn from when there is room for one. dialect: that of the environments. agent_of and an agent's turns are
    called in worker threads, not always the same one.
    An error that is not one of OWN_FAULTS, be it of an agent, an environment, on_end or plays, ends it all: no episode
    is begun any more, those in flight are played to their end, and it is raised. So does Ctrl-C; a second one does not
    wait for them.
    """
    table = _Table(iter(plays), make_env, agent_of, dialect, concurrency, on_end)
    # In a thread of its own, for Ctrl-C may interrupt the main thread anywhere, in the midst of counting too.
    with ThreadPoolExecutor(1, thread_name_prefix="recall-play") as thread:
        running = thread.submit(table.run)
        try:
            running.result()
        finally:
            table.stop()


@dataclass
class _Live:
    """An episode in flight. turn: the last one asked for, None before the first."""

    play: Play
    transcript: Transcript = field(default_factory=Transcript)
    agent: Agent | None = None
    turn: "Future[str] | None" = None


class _Table:
    """The episodes in flight, by their slot in the pool. One thread runs it."""

    def __init__(self, plays, make_env, agent_of: AgentOf, dialect: Dialect, concurrency: int, on_end):
        self._plays, self._agent_of, self._dialect, self._on_end = plays, agent_of, dialect, on_end
        self._live: dict[int, _Live] = {}
        self._free = deque(range(concurrency))
        self._stopped, self._error = False, None
        self._make_env, self._concurrency = make_env, concurrency

    def stop(self) -> None:
        """Begin no episode any more. From any thread."""
        self._stopped = True

    def run(self) -> None:
        """Raises the first error of all, when the episodes in flight have ended."""
        turns = ThreadPoolExecutor(self._concurrency, thread_name_prefix="recall-agent")
        with turns as self._turns, EnvPool(self._make_env, self._concurrency, self._concurrency) as self._pool:
            while True:
                self._guarded(self._begin_more)
                if not self._pool.pending:
                    break
                for event in self._pool.recv():
                    self._guarded(self._advance, event)
        if self._error is not None:
            raise self._error

    def _guarded(self, act: Callable[..., None], *arguments: Event) -> None:
        try:
            act(*arguments)
        except BaseException as error:  # raised by run, once nothing is in flight
            self._error = self._error or error
            self.stop()

    def _begin_more(self) -> None:
        while self._free and not self._stopped and (play := next(self._plays, None)) is not None:
            slot = self._free.popleft()
            self._live[slot] = _Live(play)
            self._pool.reset(slot, seed=play.seed, options={"task": play.task})

    def _advance(self, event: Event) -> None:
        live = self._live[event.index]
        if event.error is not None:
            if not isinstance(event.error, OWN_FAULTS):
                raise event.error
            self._end(event.index, event.error)
            return
        if live.turn is None:
            live.transcript.begin(event.info)
        else:
            live.transcript.step(self._dialect, live.turn.result(), event.reward, event.info)
        if event.terminated or event.truncated:
            self._end(event.index, None)
            return
        live.turn = self._turns.submit(self._next_turn, live)
        self._pool.send(event.index, live.turn)

    def _next_turn(self, live: _Live) -> str:
        if live.agent is None:
            live.agent = self._agent_of(live.play.task, live.play.seed, self._dialect)
        return _turn(live.agent, live.transcript, self._dialect)

    def _end(self, slot: int, fault: RecallError | None) -> None:
        live = self._live.pop(slot)
        self._free.append(slot)
        self._on_end(Ended(live.play, live.transcript, fault))


def _turn(agent: Agent, transcript: Transcript, dialect: Dialect) -> str:
    # A served model has not been given the prefill, so it may open the thought itself.
    return agent.act(transcript.messages, transcript.tools).removeprefix(dialect.prefill)
