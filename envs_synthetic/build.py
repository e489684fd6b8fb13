"""build: the splits from a seed, over all cores; rows deduped, kept apart from other splits, written as Parquet.

Every slot of a split (its family, its number of calls) is fixed by the split's plan, so the counts do not depend on
chance; a task that a check rejects, or that came before, is replaced by the next seed for the same slot.
"""

import hashlib
import multiprocessing
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envs_synthetic.families import HELD_OUT
from envs_synthetic.generate import N_CALLS, TRAIN_FAMILIES, generate
from envs_synthetic.play import Trusted
from envs_synthetic.verify import Finding, soundness
from recall_env.errors import TaskError
from recall_env.task import Task
from recall_env.taskset import TaskSet

RETRY = 1_000_000  # a slot's next attempt is this far from its first, in task seeds
RUN = 1_000_000_000  # runs with neighboring seeds are this far apart


@dataclass(frozen=True)
class Split:
    n: int
    families: tuple[str, ...]
    held_out: bool  # words in combinations that training never holds


SPLITS = {
    "train": Split(3000, TRAIN_FAMILIES, False),
    "test": Split(400, TRAIN_FAMILIES, True),
    "test_families": Split(200, HELD_OUT, True),
}


@dataclass(frozen=True)
class Slot:
    seed: int
    family: str
    n_calls: int
    held_out: bool


def plan(split: Split, n: int, seed: int, calls: tuple[int, int]) -> list[Slot]:
    """n slots: as many of each family, within each the numbers of calls in the shares of N_CALLS; in mixed order."""
    low, high = calls
    shares = {k: share for k, share in N_CALLS.items() if low <= k <= high}
    given: dict[str, Counter[int]] = {family: Counter() for family in split.families}
    slots = []
    for at in range(n):
        family = split.families[at % len(split.families)]
        counts = given[family]
        behind = {k: share * (counts.total() + 1) / sum(shares.values()) - counts[k] for k, share in shares.items()}
        chosen = max(behind, key=lambda k: behind[k])
        counts[chosen] += 1
        slots.append(Slot(seed * RUN + at, family, chosen, split.held_out))
    random.Random(f"plan/{seed}").shuffle(slots)  # whoever takes every tenth row gets every family
    return slots


class Seen:
    """The sources and questions already used, in a normal form; holds a task only if both are new."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self.keys: set[str] = set()
        for task in tasks:
            self.keys.update(content_keys(task))

    def add(self, keys: set[str]) -> bool:
        """True, and remembered, when neither the source nor the question behind `content_keys` was seen before."""
        if self.keys & keys:
            return False
        self.keys |= keys
        return True


def content_keys(task: Task) -> set[str]:
    """Hashes of the source with its state, and of the question, without case, spacing and punctuation."""

    def normal(kind: str, text: str) -> str:
        return hashlib.sha256(f"{kind}:{' '.join(re.findall(r'[a-z0-9]+', text.lower()))}".encode()).hexdigest()

    return {normal("source", f"{task.source} {task.state}"), normal("question", task.question)}


def build(slots: list[Slot], seen: Seen, *, jailed: bool, jobs: int, advance: Callable[[], None]) -> Iterator[Task]:
    """A kept task for every slot, in order. `advance` is called once a slot is filled.

    jailed: each task proves itself in the jail, else in this process. Raises RecallError when a slot cannot be filled.
    """
    with processes(jobs) as workers:
        for slot, task in zip(slots, workers.map(fill, slots, [jailed] * len(slots), chunksize=8), strict=True):
            attempt = slot
            while not seen.add(content_keys(task)):
                attempt = Slot(attempt.seed + RETRY, slot.family, slot.n_calls, slot.held_out)
                task = workers.submit(fill, attempt, jailed).result()
            advance()
            yield task


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that were started anew, not forked; when the block is left by an exception, what waits is dropped."""
    workers = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield workers
    finally:
        workers.shutdown(wait=True, cancel_futures=True)


def fill(slot: Slot, jailed: bool) -> Task:
    """A sound task for the slot; in a worker process."""
    calls = (slot.n_calls, slot.n_calls)
    return generate(slot.seed, family=slot.family, n_calls=calls, held_out=slot.held_out, pool=pool_of(jailed))


@dataclass(frozen=True)
class Proved:
    """What `verify` learns about a row. keys: see Seen; empty when the row is no task."""

    id: str
    keys: frozenset[str]
    findings: tuple[Finding, ...]


def prove(file: Path, index: int) -> Proved:
    """One row of a file, held to every check in the jail; in a worker process."""
    try:
        task = TaskSet.load(file)[index]
    except TaskError as error:
        return Proved(f"row {index}", frozenset(), (Finding("row", str(error)),))
    return Proved(task.id, frozenset(content_keys(task)), tuple(soundness(task, pool_of(jailed=True))))


def pool_of(jailed: bool):
    if not jailed:
        return Trusted()
    from recall_env.sandbox import shared_pool

    return shared_pool("nsjail")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def parquet_schema():
    import pyarrow as pa

    text = pa.string()
    extra_info = [(name, text) for name in ("id", "env", "func_schemas", "solution", "state", "family")]
    extra_info += [("difficulty", pa.int64()), ("n_calls", pa.int64()), ("license", text)]
    return pa.schema(
        [
            ("data_source", text),
            ("question", text),
            ("ability", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            ("extra_info", pa.struct(extra_info)),
        ]
    )


def write_parquet(tasks: list[Task], path: Path) -> None:
    """The same tasks give the same bytes (with one version of pyarrow). Schemas are compact JSON, not indented."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([task.to_row() for task in tasks], schema=parquet_schema())
    partial = path.with_name(path.name + ".part")
    pq.write_table(table, partial, compression="zstd", compression_level=19, row_group_size=500)
    partial.replace(path)
