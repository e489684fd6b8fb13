"""Trajectory: one play of a Task as tokens. Append-only: what was sampled is never re-tokenised."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from recall_env.episode_file import FORMAT, LinesFile, Origin

__all__ = ["Status", "Trajectory", "TrajectoryFile", "Turn", "read_trajectories"]

# How it ended. After infra and env_error it carries no gradient and leaves its group's baseline.
Status = Literal[
    "answer",  # the model gave an answer
    "max_turns",  # the environment's turn budget ran out
    "budget",  # its time or text budget did
    "length",  # a turn was cut at its token budget before its stop token
    "context",  # no room left in the context for another turn
    "infra",  # our fault: carries no gradient and leaves its group's baseline
    "env_error",  # the environment author's fault; likewise
]


@dataclass(frozen=True)
class Turn:
    """Where one sampled turn lies in the ids, [start, stop), and which weights sampled it."""

    start: int
    stop: int
    version: int
    finish: Literal["stop", "length"]


@dataclass
class Trajectory:
    """One play of a Task as T tokens. Append-only.

    ids, sampled and logprobs have one length, T, at all times; logprobs, natural and under the distribution that was
    sampled from, is 0.0 where sampled is False.
    """

    task_id: str
    group: int  # trajectories with the same group number share a Task and a baseline
    sample: int  # 0 .. G-1 within the group
    seed: int
    family: str | None = None
    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    status: Status | None = None  # None while it is being played
    reward: float = 0.0
    success: bool = False
    score: dict[str, float] = field(default_factory=dict)  # the rubric's parts
    tool_calls: list[dict[str, Any]] = field(default_factory=list)  # as in info["tool_calls"], with the turn
    messages: list[dict[str, Any]] = field(default_factory=list)  # the same episode as text, for people
    fault: str | None = None  # what went wrong, when it was not the model
    env_seed: int = 0  # given to the environment's reset; with content_hash and the actions it fixes the episode
    content_hash: str = ""  # of the Task
    answer: str | None = None
    final_state: dict[str, Any] = field(default_factory=dict)  # as in info["final_state"]
    verdicts: dict[str, Any] = field(default_factory=dict)  # of judges

    @property
    def valid(self) -> bool:
        """Whether it counts: False for what the sandbox or the environment's author broke."""
        return self.status not in ("infra", "env_error")

    def add_context(self, ids: list[int]) -> None:
        """Append tokens the model reads and is not trained on."""
        self.ids += ids
        self.sampled += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)

    def add_turn(self, ids: list[int], logprobs: list[float], version: int, finish: Literal["stop", "length"]) -> None:
        """Append one sampled turn, its stop token included. ids and logprobs: of one length, else ValueError."""
        if len(ids) != len(logprobs):
            raise ValueError(f"a turn of {len(ids)} ids came with {len(logprobs)} log-probabilities")
        start = len(self.ids)
        self.ids += ids
        self.sampled += [True] * len(ids)
        self.logprobs += logprobs
        self.turns.append(Turn(start, len(self.ids), version, finish))


class TrajectoryFile:
    """Trajectories as an episode file with tokens: what `recall-env replay` and `rescore` read, and more.

    Whole or absent: written beside its final name and renamed at the end.
    """

    def __init__(self, path: Path, rank: int = 0, *, origin: Origin):
        """origin: of every trajectory in it."""
        self.path = path if rank == 0 else path.with_stem(f"{path.stem}-rank{rank}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._shared = {"format": FORMAT, "origin": dataclasses.asdict(origin)}
        self._file = LinesFile(self.path)

    def write(self, trajectory: Trajectory) -> None:
        """Append a line."""
        self._file.write(json.dumps({**self._shared, **dataclasses.asdict(trajectory)}))

    def __enter__(self) -> "TrajectoryFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)


def read_trajectories(path: Path) -> list[Trajectory]:
    """What TrajectoryFile wrote, equal to what was given to it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [_read(**row) for row in rows]


def _read(*, format: int, origin: dict[str, Any], turns: list[dict[str, Any]], **row: Any) -> Trajectory:
    return Trajectory(**row, turns=[Turn(**turn) for turn in turns])
