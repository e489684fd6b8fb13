"""Episode files: one episode a line, as text, with all that it takes to play it again and to score it again.

JSON lines in ASCII (a tool's value may hold a lone surrogate, which no encoding writes). `recall-env eval` and `play`
write them; the trainer's trajectory files are the same with tokens added, so one reader reads both.
"""

import functools
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from recall_env.calls import bounded
from recall_env.dialect import DIALECTS, Dialect
from recall_env.dialect.base import Message
from recall_env.env import SynToolEnv, as_text
from recall_env.errors import RecallError, TaskError
from recall_env.rubric import Episode, PlayedTurn, Rubric, Verdict
from recall_env.sandbox.limits import Limits
from recall_env.task import Row, Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall, ToolResult

__all__ = [
    "FORMAT",
    "SCORED",
    "EpisodeRecord",
    "LinesFile",
    "Origin",
    "Tasks",
    "Transcript",
    "episode_of",
    "origin_of",
    "read_episodes",
    "record",
    "rubric_of",
]

FORMAT = 1  # of a line; raised when a key changes its meaning, and lines of another one are refused
SCORED = ("answer", "max_turns", "budget")  # the endings at which the rubric gave the reward; at any other it is 0


@dataclass(frozen=True)
class Origin:
    """What fixes an episode besides its task, its seed and its actions, and the versions it was played with."""

    dataset: str | None  # None: the row itself is in the line
    split: str | None
    dialect: str
    rubric: dict[str, Any]
    max_turns: int
    time_budget_s: float | None
    text_budget: int | None
    sandbox: str
    gate: bool
    services: list[str]  # names; where they are is for who replays to say
    limits: dict[str, Any]  # those of a task that asks for no others
    recall_env: str
    python: str
    gymnasium: str


@dataclass(frozen=True)
class EpisodeRecord:
    """One line.

    messages: all of them, assistant turns as the dialect holds them (as written, prefill included; in a dialect of
    messages `written` has what was given to `step`). tool_calls: as in `info["tool_calls"]`, with the number of their
    turn, from 0. status: how the environment ended it ("answer", "max_turns", "budget", "infra"), or why it was not
    played on: "refused" by the endpoint, "length" or "context" of the trainer, "env_error". score: the parts' values,
    under `origin.rubric`. final_state, verdicts: what the rubric needs that only the jail or a judge could say.
    """

    task_id: str
    content_hash: str
    env_seed: int
    origin: Origin
    messages: list[Message]
    tool_calls: list[dict[str, Any]]
    status: str
    reward: float
    success: bool
    score: dict[str, float]
    written: list[str] | None = None
    answer: str | None = None
    final_state: dict[str, dict[str, Any]] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    family: str | None = None
    row: Row | None = None
    fault: str | None = None

    def to_json(self) -> str:
        """The line, without its end: ASCII."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @staticmethod
    def from_json(line: str) -> "EpisodeRecord":
        """Raises RecallError when the line is none. Keys of other programs are passed over."""
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise RecallError(f"not JSON ({e})") from e
        if not isinstance(row, dict) or "messages" not in row:
            raise RecallError("not an episode: it has no messages")
        if row.get("format") != FORMAT:
            raise RecallError(f"an episode of format {row.get('format')!r}; this version reads {FORMAT}")
        try:
            known = {item.name: row[item.name] for item in fields(EpisodeRecord) if item.name in row}
            record = EpisodeRecord(**{**known, "origin": Origin(**row["origin"])})
            record._check()
        except (TypeError, LookupError, AttributeError) as e:
            raise RecallError(f"not a whole episode ({type(e).__name__}: {e})") from e
        if record.origin.dialect not in DIALECTS:
            raise RecallError(f"no dialect {record.origin.dialect!r}")
        return record

    def _check(self) -> None:
        """Raise TypeError or LookupError for what the rest of this file could not read."""
        texts = [
            self.task_id,
            self.content_hash,
            self.status,
            *(m[k] for m in self.messages for k in ("role", "content")),
            *(self.written or ()),
        ]
        texts += [call[key] for call in self.tool_calls for key in ("name", "status")]
        numbers = [self.env_seed, *(call["turn"] for call in self.tool_calls)]
        objects = [self.origin.rubric, self.score, self.final_state, self.verdicts]
        objects += [call["arguments"] for call in self.tool_calls]
        for kind, values in ((str, texts), (int, numbers), (dict, objects)):
            for value in values:
                if not isinstance(value, kind):
                    raise TypeError(f"expected {kind.__name__}, got {value!r:.80}")

    @property
    def actions(self) -> list[str]:
        """What was given to `step`, in order; a last turn that was cut before it is not among them."""
        turns = self.turns
        if self.status not in SCORED and self.messages and self.messages[-1]["role"] == "assistant":
            turns.pop()  # `length`, `context`; where `step` raised, it is not played again either
        return turns

    @property
    def turns(self) -> list[str]:
        """Every turn as it was written, without the prefill."""
        if self.written is not None:
            return list(self.written)
        prefill = DIALECTS[self.origin.dialect].prefill
        return [m["content"].removeprefix(prefill) for m in self.messages if m["role"] == "assistant"]


@dataclass
class Transcript:
    """An episode while it is being played, as the environment tells it."""

    messages: list[Message] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)  # of each step
    reward: float = 0.0
    tools: list[dict[str, Any]] | None = None

    def begin(self, info: Mapping[str, Any]) -> None:
        """Takes in what `reset` said."""
        self.messages += info["messages"]
        self.tools = info["tools"]

    def step(self, dialect: Dialect, action: str, reward: float, info: dict[str, Any]) -> None:
        """Takes in an assistant turn, and what `step` said to it."""
        self.messages += [dialect.assistant(action), *info["messages"]]
        self.actions.append(action)
        self.infos.append(info)
        self.reward = reward

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """As in `info["tool_calls"]`, of all turns, with the number of their turn, from 0."""
        return [{"turn": turn, **call} for turn, info in enumerate(self.infos) for call in info["tool_calls"]]


def origin_of(env: SynToolEnv, tasks: TaskSet | None) -> Origin:
    """The Origin of episodes that an environment plays.

    tasks: the set that the played tasks come from; without a dataset's name of its own, lines hold their rows.
    """
    return Origin(
        dataset=None if tasks is None else tasks.dataset,
        split=None if tasks is None else tasks.split,
        dialect=env.dialect.name,
        rubric=env.rubric.to_dict(),
        max_turns=env.max_turns,
        time_budget_s=env.time_budget_s,
        text_budget=env.text_budget,
        sandbox=env.sandbox if isinstance(env.sandbox, str) else type(env.sandbox).__name__,
        gate=env.gate,
        services=sorted(env.services),
        limits=asdict(Limits()),
        **versions(),
    )


def record(
    task: Task, seed: int, origin: Origin, played: Transcript, *, status: str | None = None, fault: str | None = None
) -> EpisodeRecord:
    """The line of an episode. status and fault: where it did not come to its end."""
    last = played.infos[-1] if played.infos and "termination" in played.infos[-1] else {}
    score = last.get("score", {})
    return EpisodeRecord(
        task_id=task.id,
        content_hash=task.content_hash,
        env_seed=seed,
        origin=origin,
        messages=played.messages,
        tool_calls=played.tool_calls,
        status=status or last.get("termination", "unfinished"),
        reward=played.reward,
        success=last.get("success", False),
        score=score.get("values", {}),
        written=played.actions if DIALECTS[origin.dialect].takes_messages else None,
        answer=last.get("answer"),
        final_state=last.get("final_state", {}),
        verdicts=score.get("verdicts", {}),
        family=task.family,
        row=task.to_row() if origin.dataset is None else None,
        fault=fault or last.get("fault"),
    )


class LinesFile:
    """Lines of a file that is whole or absent: written beside its final name, and renamed at the end."""

    def __init__(self, path: Path):
        self.path = path
        self._partial = path.with_suffix(".partial")
        self._file = self._partial.open("w", encoding="ascii")

    def write(self, line: str) -> None:
        """Append a line, given without its end. It must be ASCII."""
        self._file.write(line + "\n")

    def __enter__(self) -> "LinesFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if error is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink()


def read_episodes(path: Path) -> Iterator[tuple[int, EpisodeRecord]]:
    """(line number from 1, record) of every line, one at a time. Raises RecallError: file, line, reason."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, EpisodeRecord.from_json(line)
                    except RecallError as e:
                        raise RecallError(f"{path.name} line {number}: {e}") from e
    except (OSError, UnicodeDecodeError) as e:
        raise RecallError(f"{path}: cannot be read ({e})") from e


class Tasks:
    """The tasks of records: from the line, from the dataset it names, or from another one."""

    def __init__(self, dataset: str | None = None, split: str | None = None):
        """dataset: looked into instead of the one that a line names."""
        self._dataset, self._split = dataset, split
        self._sets: dict[tuple[str, str | None], TaskSet] = {}

    def of(self, record: EpisodeRecord) -> Task:
        """Raises TaskError where there is none of that id."""
        named = self._dataset or record.origin.dataset
        if named is None:
            if record.row is None:
                raise TaskError(f"task {record.task_id}: the line neither holds it nor names its dataset")
            return Task.from_row(record.row, f"task {record.task_id}")
        key = (named, self._split if self._dataset else record.origin.split)
        if key not in self._sets:
            try:
                self._sets[key] = TaskSet.load(*key)
            except RecallError as e:
                raise TaskError(f"{e}; say where it is: --dataset") from e
        return self._sets[key].by_id(record.task_id)


def episode_of(record: EpisodeRecord, task: Task) -> Episode:
    """The episode as the rubric saw it. Judges answer from the record and ask nobody."""
    dialect = DIALECTS[record.origin.dialect]
    turns = []
    for number, text in enumerate(map(as_text, record.turns)):
        made = [call for call in record.tool_calls if call["turn"] == number]
        read = map(bounded, dialect.parse(text, task.extractor).calls)
        results = tuple(zip(_calls(made, list(read)), map(_result, made), strict=True))
        turns.append(PlayedTurn(dialect.assistant(text)["content"], results))
    state = {name: _result(result) for name, result in record.final_state.items()}
    termination = record.status if record.status in SCORED else "infra"
    return Episode(task, tuple(turns), record.answer, termination, state, record.verdicts, offline=True)


def rubric_of(record: EpisodeRecord) -> Rubric:
    """The rubric it was played under. Raises RecallError for a part that this process does not know."""
    return _rubric(json.dumps(record.origin.rubric))


@functools.lru_cache(maxsize=64)
def _rubric(text: str) -> Rubric:
    return Rubric.from_dict(json.loads(text))


def _calls(made: list[dict[str, Any]], read: list[ToolCall]) -> list[ToolCall]:
    """The calls as they were read from the text where that still reads the same, and else as they are on record."""
    if [(call["name"], call["arguments"]) for call in made] == [(call.name, call.arguments) for call in read]:
        return read
    errors = [(call.get("error") or {}).get("message") if call["status"] == "parse_error" else None for call in made]
    return [
        ToolCall(call["name"], call["arguments"], error=e, call_id=call.get("call_id"))
        for call, e in zip(made, errors, strict=True)
    ]


def _result(info: dict[str, Any]) -> ToolResult:
    error = info.get("error") or {}
    return ToolResult(
        info["status"], info.get("value"), info.get("stdout", ""), error.get("type"), error.get("message")
    )


@functools.cache
def versions() -> dict[str, str]:
    """What an episode was played with, besides the sandbox: the fields of Origin of these names."""
    return {
        "recall_env": version("recall"),
        "python": platform.python_version(),
        "gymnasium": version("gymnasium"),
    }
