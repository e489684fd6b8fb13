"""recall-env rescore: the episodes of a file under a rubric, without playing them: no jail, no model."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from recall_env.episode_file import SCORED, EpisodeRecord, Tasks, episode_of, read_episodes, rubric_of
from recall_env.errors import EnvError, JudgeFailure, RecallError
from recall_env.rubric import Rubric, Score
from recall_env.rubric.judge import forget_verdicts
from recall_env.task import Task
from recall_env.terminal import say

__all__ = ["ASKING", "Rescored", "rescore", "rescore_file"]

ASKING = ("never", "missing", "anew")  # what `rescore` takes as ask


@dataclass(frozen=True)
class Rescored:
    """A line's old and new total. new is None, and fault says why, where the rubric could not score it.

    An episode that did not come to its end was never scored by a rubric; it keeps what it had, and values is empty.
    """

    line: int
    task_id: str
    status: str
    old: float
    new: float | None
    values: dict[str, float] = field(default_factory=dict)
    changed_task: bool = False  # its content, truth included, is not what it was
    fault: str | None = None


def rescore(record: EpisodeRecord, task: Task, rubric: Rubric, ask: str = "never") -> Score:
    """The score of a stored episode. ask: what judges do besides reading the verdicts on record: "never" anything,
    ask for those that are "missing", or for all "anew".

    Raises EnvError and JudgeFailure, as `Rubric.score` does.
    """
    episode = episode_of(record, task)
    if ask == "missing":
        episode = replace(episode, offline=False)
    elif ask == "anew":
        episode = replace(episode, offline=False, verdicts={})
    return rubric.score(episode)


def rescore_file(
    file: Path,
    rubric: Rubric | None = None,
    *,
    dataset: str | None = None,
    split: str | None = None,
    ask: str = "never",
) -> Iterator[Rescored]:
    """Every line, one at a time.

    rubric: None for the one that each was played under, which may not ask anybody: a file from elsewhere would choose
    whom. dataset, split: where its tasks are, instead of what the lines name. ask: as `rescore` takes it.
    Raises RecallError for a line that is no episode, and for a task that is not found.
    """
    if ask not in ASKING:
        raise RecallError(f"ask: expected one of {', '.join(ASKING)}, got {ask!r}")
    if ask != "never" and rubric is None:
        raise RecallError("--ask needs --rubric: a rubric that stands in the file is not asked on its word")
    if ask == "anew":
        forget_verdicts()
    tasks = Tasks(dataset, split)
    for line, record in read_episodes(file):
        if record.status not in SCORED:
            yield Rescored(line, record.task_id, record.status, record.reward, record.reward)
            continue
        task = tasks.of(record)
        other = task.content_hash != record.content_hash
        try:
            score = rescore(record, task, rubric or rubric_of(record), ask)
        except (EnvError, JudgeFailure) as error:
            found = Rescored(line, record.task_id, record.status, record.reward, None, {}, other, str(error))
        else:
            found = Rescored(line, record.task_id, record.status, record.reward, score.total, score.values, other)
        yield found


def run(file: Path, rubric: Rubric | None, *, dataset: str | None, split: str | None, ask: str, as_json: bool) -> bool:
    """The command. Prints a line for each episode; False when one could not be scored."""
    old = new = 0.0
    changed = count = scored = faults = others = 0
    names: dict[str, float] = {}
    for one in rescore_file(file, rubric, dataset=dataset, split=split, ask=ask):
        if as_json:
            print(json.dumps(asdict(one)), flush=True)
        else:
            if not count + faults:
                print(f"{'line':>6}  {'old':>8}  {'new':>8}  {'status':<10}  task")
            shown = f"{one.new:>8.4g}" if one.new is not None else f"{'-':>8}"
            print(f"{one.line:>6}  {one.old:>8.4g}  {shown}  {one.status:<10}  {one.task_id}")
        others += one.changed_task
        if one.new is None:
            faults += 1
            say(f"line {one.line}: {one.fault}")
            continue
        old, new, count = old + one.old, new + one.new, count + 1
        changed, scored = changed + (one.old != one.new), scored + bool(one.values)
        for name, value in one.values.items():
            names[name] = names.get(name, 0.0) + value
    each = max(1, count)
    say(f"{count} episodes: mean reward {old / each:.4f} -> {new / each:.4f}; {changed} changed, {faults} not scored")
    if others:
        say(f"{others} episodes are of tasks that have changed since; they were scored by what these say now")
    say(
        f"mean of each part over the {scored} that a rubric scores: "
        + ", ".join(f"{name} {value / scored:.4f}" for name, value in names.items())
    )
    return faults == 0
