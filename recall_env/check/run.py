"""Many tasks, over all cores: each worker has a jail and players of its own, and tells task by task what it found."""

import hashlib
import multiprocessing
import os
import platform
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.queues import SimpleQueue
from typing import Any

from recall_env.check.bench import Bench, Settings
from recall_env.check.checks import CHECKS, Finding, Status, chosen, run_checks
from recall_env.check.player import Players
from recall_env.errors import RecallError, SandboxFailure, TaskError
from recall_env.sandbox.session import Pool
from recall_env.task import Task
from recall_env.taskset import TaskSet

FORM = 1  # of the JSON; raised when a key changes its meaning


@dataclass(frozen=True)
class Verdict:
    """What is known of one data point. figures: n_calls, answer_after, one_call, mutants (docs/check.md)."""

    id: str
    content_hash: str  # empty for a row that is no task
    checks: dict[str, Status]
    findings: tuple[Finding, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """No check found an error; there may be warnings."""
        return not any(finding.severity == "error" for finding in self.findings)


@dataclass(frozen=True)
class Report:
    """The same tasks, settings and versions give the same report: no time is in it."""

    target: str
    settings: Settings
    names: tuple[str, ...]
    points: tuple[Verdict, ...]  # in the order of the set

    @property
    def failed(self) -> list[Verdict]:
        """Those that are not sound."""
        return [point for point in self.points if not point.sound]

    def counts(self) -> dict[str, Counter[Status]]:
        """For each check, how many tasks came out how."""
        return {name: Counter(p.checks[name] for p in self.points if name in p.checks) for name in self.names}

    def findings(self) -> Iterator[tuple[Verdict, Finding]]:
        """Every finding with the data point it is about."""
        return ((point, finding) for point in self.points for finding in point.findings)

    def passes(self, strict: bool = False) -> bool:
        """strict: warnings count too."""
        return not any(strict or finding.severity == "error" for _, finding in self.findings())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; its keys are in docs/check.md."""
        counts = self.counts()
        return {
            "form": FORM,
            "recall": _version(),
            "python": platform.python_version(),
            "target": self.target,
            "content": hashlib.sha256("\n".join(p.content_hash for p in self.points).encode()).hexdigest(),
            "settings": {key: value for key, value in asdict(self.settings).items() if key != "services"},
            "tasks": len(self.points),
            "sound": len(self.points) - len(self.failed),
            "checks": {
                name: {"meaning": CHECKS[name].meaning, "severity": CHECKS[name].severity}
                | {status: counts[name][status] for status in ("ok", "warning", "failed", "skipped")}
                for name in self.names
            },
            "points": [{**asdict(point), "sound": point.sound} for point in self.points],
        }


def check_task(
    task: Task, pool: Pool, settings: Settings, players: Players | None = None, names: Iterable[str] = tuple(CHECKS)
) -> Verdict:
    """All checks of one task, in this process.

    pool: where its tools run. players: processes that play it too; without them the check `processes` is left out.
    names: checks, as `chosen` gives them. Raises SandboxUnavailable when nothing can be jailed on this machine.
    """
    names = [name for name in names if players is not None or CHECKS[name].cost != "processes"]
    bench = Bench(task, pool, settings, players)
    try:
        checks, findings = run_checks(bench, names)
    finally:
        bench.close()
    return Verdict(task.id, task.content_hash, checks, tuple(findings), bench.figures)


def check(
    tasks: TaskSet,
    settings: Settings | None = None,
    *,
    target: str | None = None,
    names: Sequence[str] | None = None,
    jobs: int | None = None,
    on_task: Callable[[Verdict], None] | None = None,
) -> Report:
    """Check every task of a set.

    names: checks, as `checks.chosen` gives them; default: all. jobs: processes; default: one a core.
    on_task: called after each task, in this process, in the order they finish.
    Raises SandboxUnavailable when nothing can be jailed on this machine.
    """
    settings, names = settings or Settings(), tuple(names or chosen())
    points: dict[int, Verdict] = {}

    def tell(at: int, verdict: Verdict) -> None:
        points[at] = verdict
        if on_task is not None:
            on_task(verdict)

    readable: dict[int, Task] = {}
    for at in range(len(tasks)):
        try:
            readable[at] = tasks[at]
        except TaskError as error:
            tell(at, Verdict(f"row {at}", "", {}, (Finding("row", "error", str(error)),)))
    jobs = min(jobs or len(os.sched_getaffinity(0)), max(1, len(readable)))
    with _Workers(jobs, settings, names) as workers:
        for at, verdict in workers.check(readable):
            tell(at, verdict)
    return Report(target or tasks.name, settings, names, tuple(points[at] for at in range(len(tasks))))


class _Workers:
    """Processes that were started anew, not forked. When the block is left by an exception, what waits is dropped."""

    def __init__(self, jobs: int, settings: Settings, names: tuple[str, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        cores = sorted(os.sched_getaffinity(0))
        self._shares = context.SimpleQueue()  # each worker takes one: a pool of one jail would sit on the first core
        for job in range(jobs):
            self._shares.put(set(cores[job::jobs] or cores))
        self._pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(self._shares, settings, names))

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._shares.close()

    def check(self, tasks: dict[int, Task]) -> Iterator[tuple[int, Verdict]]:
        futures = {self._pool.submit(_check_here, task): at for at, task in tasks.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise SandboxFailure("a process that checks tasks was killed; fewer --jobs need less memory") from error


class _Here:
    """What a worker process keeps from task to task."""

    def __init__(self, settings: Settings, names: tuple[str, ...]) -> None:
        from recall_env.sandbox import JailPool, UnsafePool

        if settings.sandbox not in ("nsjail", "unsafe"):
            raise RecallError(f"no sandbox {settings.sandbox!r}: expected nsjail or unsafe")
        self.settings, self.names = settings, names
        self.pool = JailPool(shards=1) if settings.sandbox == "nsjail" else UnsafePool()
        keys = ("dialect", "rubric", "max_turns", "sandbox", "services")
        self.players = Players({key: asdict(settings)[key] for key in keys})


_here: _Here | None = None


def _begin(shares: "SimpleQueue[set[int]]", settings: Settings, names: tuple[str, ...]) -> None:
    global _here
    os.sched_setaffinity(0, shares.get())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer: it drops what waits
    _here = _Here(settings, names)


def _check_here(task: Task) -> Verdict:
    return check_task(task, _here.pool, _here.settings, _here.players, _here.names)


def _version() -> str:
    try:
        return version("recall")
    except PackageNotFoundError:
        return "unknown"
