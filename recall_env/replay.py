"""recall-env replay: plays the episodes of a file again, in the jail, and finds the first byte that differs.

Nothing of a file is believed that could do harm: it is played in the sandbox and with the services that the command
line names, and judges answer from the file, asking nobody.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from recall_env.env import SynToolEnv
from recall_env.episode_file import (
    SCORED,
    EpisodeRecord,
    Origin,
    Tasks,
    Transcript,
    origin_of,
    read_episodes,
    record,
    rubric_of,
    versions,
)
from recall_env.errors import EnvError, RecallError
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Pool
from recall_env.task import Task

__all__ = ["Difference", "Replayed", "first_difference", "replay", "replay_file"]

_VOID = ("infra", "env_error")  # what happened there is no fact about the task
_AROUND = 40  # bytes shown on either side of the first one that differs


@dataclass(frozen=True)
class Fact:
    """One text of an episode: where it stands, and what it is."""

    turn: int  # from 1; 0: what `reset` said
    field: str
    text: str


@dataclass(frozen=True)
class Difference:
    """The first one of an episode. byte: of the field's text in UTF-8; None for a field that one side does not have."""

    turn: int
    field: str
    byte: int | None
    stored: str | None
    replayed: str | None


@dataclass(frozen=True)
class Replayed:
    """What a line came to. outcome: equal, differs, or void (lost when it was recorded, and so not played)."""

    line: int
    task_id: str
    env_seed: int
    outcome: str
    difference: Difference | None = None
    changed_task: str | None = None  # the hash of the task's content now, where it is another
    notes: tuple[str, ...] = ()  # versions, limits and sandbox that are not those it was recorded with


def replay(
    episode: EpisodeRecord, task: Task, sandbox: str | Pool = "nsjail", services: dict[str, str] | None = None
) -> EpisodeRecord:
    """The same seed and actions once more: what is recorded of them now.

    A time budget is not measured again: the episode ends by it where it ended by it.
    Raises what `SynToolEnv.reset` does. Where a step raises EnvError, the record says so.
    """
    origin = episode.origin
    env = SynToolEnv(
        dialect=origin.dialect,
        rubric=rubric_of(episode).recalling(episode.verdicts),
        max_turns=origin.max_turns,
        text_budget=origin.text_budget,
        sandbox=sandbox,
        gate=origin.gate,
        services=services,
    )
    played, status, fault, ended = Transcript(), None, None, False
    try:
        _, info = env.reset(seed=episode.env_seed, options={"task": task})
        played.begin(info)
        actions = episode.actions
        for number, action in enumerate(actions, 1):
            if ended:
                break
            if number == len(actions) and episode.status == "budget" and origin.time_budget_s is not None:
                env.time_budget_s = 0.0
            _, reward, terminated, truncated, info = env.step(action)
            played.step(env.dialect, action, reward, info)
            ended = terminated or truncated
    except EnvError as error:
        status, fault = "env_error", str(error)
    finally:
        env.close()
    origin = replace(origin_of(env, None), time_budget_s=origin.time_budget_s)
    return record(task, episode.env_seed, origin, played, status=status, fault=fault)


def first_difference(stored: EpisodeRecord, replayed: EpisodeRecord) -> Difference | None:
    """Where two records of one episode first differ, in the order in which things happened; None where nowhere."""
    before, now = (list(_facts(episode, stored)) for episode in (stored, replayed))
    known = {(fact.turn, fact.field) for fact in now}
    for one, other in zip_longest(before, now):
        if one == other:
            continue
        if one is not None and other is not None and (one.turn, one.field) == (other.turn, other.field):
            at = _first_byte(one.text, other.text)
            return Difference(one.turn, one.field, at, _window(one.text, at), _window(other.text, at))
        if one is not None and (one.turn, one.field) not in known:
            return Difference(one.turn, one.field, None, _window(one.text, 0), None)
        return Difference(other.turn, other.field, None, None, _window(other.text, 0))
    return None


def replay_file(
    file: Path,
    *,
    index: int | None = None,
    dataset: str | None = None,
    split: str | None = None,
    sandbox: str | Pool = "nsjail",
    services: dict[str, str] | None = None,
) -> Iterator[Replayed]:
    """What every line came to, one at a time; with index, the one at this position, from 0.

    dataset, split: where its tasks are, instead of what the lines name. sandbox, services: those of this machine,
    whatever the file says. Raises RecallError for a line that is no episode, and for a task that is not found.
    """
    tasks, found = Tasks(dataset, split), False
    for position, (line, episode) in enumerate(read_episodes(file)):
        if index is not None and position != index:
            continue
        found = True
        yield _replay_line(line, episode, tasks, sandbox, services)
        if index is not None:
            return
    if not found:
        raise RecallError(f"{file.name} holds no episode" + ("" if index is None else f" {index}; they count from 0"))


def _replay_line(
    line: int, episode: EpisodeRecord, tasks: Tasks, sandbox: str | Pool, services: dict[str, str] | None
) -> Replayed:
    if episode.status in _VOID:
        return Replayed(line, episode.task_id, episode.env_seed, "void")
    task = tasks.of(episode)
    changed = task.content_hash if task.content_hash != episode.content_hash else None
    again = replay(episode, task, sandbox, services)
    difference = first_difference(episode, again)
    outcome = "equal" if difference is None and changed is None else "differs"
    notes = _notes(episode.origin, sandbox)
    return Replayed(line, episode.task_id, episode.env_seed, outcome, difference, changed, notes)


def _facts(episode: EpisodeRecord, stored: EpisodeRecord) -> Iterator[Fact]:
    """Everything that a replay must repeat: of the turns that the stored episode took, and of its end if it has one."""
    turn, taken, written = 0, len(stored.actions), episode.turns
    for number, message in enumerate(episode.messages):
        if message["role"] == "assistant":
            turn += 1
            if turn > taken:
                break
            yield Fact(turn, "action", written[turn - 1])
            yield from _call_facts(episode, turn)
        for key, value in message.items():
            yield Fact(turn, f"messages[{number}].{key}", _text(value))
    if stored.status not in SCORED:
        return
    yield Fact(turn, "status", episode.status + (f": {episode.fault}" if episode.fault else ""))
    yield Fact(turn, "answer", _text(episode.answer))
    for name, result in episode.final_state.items():
        for key, value in result.items():
            yield Fact(turn, f"final_state.{name}.{key}", _text(value))
    for name, value in episode.score.items():
        yield Fact(turn, f"score.{name}", _text(value))
    yield Fact(turn, "reward", _text(episode.reward))
    yield Fact(turn, "success", _text(episode.success))


def _call_facts(episode: EpisodeRecord, turn: int) -> Iterator[Fact]:
    calls = [call for call in episode.tool_calls if call["turn"] == turn - 1]
    for number, call in enumerate(calls):
        for key in ("name", "call_id", "arguments", "status", "value", "stdout", "error"):
            yield Fact(turn, f"tool_calls[{number}].{key}", _text(call.get(key)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _first_byte(one: str, other: str) -> int:
    left, right = _bytes(one), _bytes(other)
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _window(text: str, at: int) -> str:
    """The bytes around one, as ASCII, with ">>>" before that one."""
    raw = _bytes(text)
    before, after = raw[max(0, at - _AROUND) : at], raw[at : at + _AROUND]
    shown = [part.decode("utf-8", "backslashreplace") for part in (before, after)]
    shown = [part.encode("unicode_escape").decode("ascii") for part in shown]
    more = ("..." if at > _AROUND else "", "..." if at + _AROUND < len(raw) else "")
    return f"{more[0]}{shown[0]}>>>{shown[1]}{more[1]}"


def _notes(origin: Origin, sandbox: str | Pool) -> tuple[str, ...]:
    """What else is not as it was when the episode was recorded."""
    now = replace(origin, limits=asdict(Limits()), **versions())
    if isinstance(sandbox, str):
        now = replace(now, sandbox=sandbox)
    pairs = [(item.name, getattr(origin, item.name), getattr(now, item.name)) for item in fields(Origin)]
    return tuple(
        f"recorded with {name} {before}, replayed with {after}" for name, before, after in pairs if before != after
    )
