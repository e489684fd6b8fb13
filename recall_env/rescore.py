"""recall-env rescore: the episodes of a file under a rubric, without playing them: no jail, no model."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from recall_env.episode_file import SCORED, EpisodeRecord, Tasks, episode_of, read_episodes, rubric_of
from recall_env.errors import EnvError, JudgeFailure, RecallError
from recall_env.rubric import Rubric, Score
from recall_env.rubric.judge import forget_verdicts
from recall_env.task import Task

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
