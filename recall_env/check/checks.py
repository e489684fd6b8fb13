"""The table of checks, in the order they run: what is cheap and what others build on comes first."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from recall_env.check import mutation, played, repeat, robust, static
from recall_env.check.bench import Bench, Note, OutOfTime, Severity, fault
from recall_env.errors import EnvError, RecallError, SandboxUnavailable
from recall_env.nearest import did_you_mean, listed

Status = Literal["ok", "warning", "failed", "skipped"]  # of one check on one task; skipped: it builds on a failed one


@dataclass(frozen=True)
class Check:
    """One check: a generator of Notes over a task on the bench; no note means that it passed.

    severity: the worst it says. cost: what it takes. after: where one of these failed, it is skipped.
    """

    run: Callable[[Bench], Iterator[Note]]
    severity: Severity
    cost: Literal["reads", "plays", "processes"]
    after: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """One line: what it proves."""
        return self.run.__doc__ or ""


@dataclass(frozen=True)
class Finding:
    """What one check says about one task, in one line."""

    check: str  # a key of CHECKS, or "row" for what is no task at all
    severity: Severity
    text: str


_PLAYABLE = ("schema", "signature", "loads")
_SOLVED = (*_PLAYABLE, "gold")

# By name, in the order they run. What each finds: docs/check.md.
CHECKS: dict[str, Check] = {
    "schema": Check(static.schema, "error", "reads"),
    "signature": Check(static.signature, "error", "reads"),
    "gate": Check(static.gate, "error", "reads"),
    "leak": Check(static.leak, "error", "reads"),
    "budget": Check(played.budget, "error", "reads"),
    "loads": Check(played.loads, "error", "plays", ("schema", "signature")),
    "gold": Check(played.gold, "error", "plays", _PLAYABLE),
    "floor": Check(played.floor, "error", "plays", _PLAYABLE),
    "outside_text": Check(played.outside_text, "error", "plays", _PLAYABLE),
    "rubric": Check(played.rubric, "error", "plays", _PLAYABLE),
    "single_call": Check(played.single_call, "error", "plays", _SOLVED),
    "outputs": Check(robust.outputs, "error", "plays", _PLAYABLE),
    "world": Check(repeat.world, "error", "plays", _SOLVED),
    "processes": Check(repeat.processes, "error", "processes", _SOLVED),
    "isolation": Check(repeat.isolation, "error", "plays", (*_SOLVED, "processes")),
    "concurrent": Check(repeat.concurrent, "error", "plays", (*_SOLVED, "processes")),
    "arguments": Check(robust.arguments, "error", "plays", _PLAYABLE),
    "mutation": Check(mutation.mutation, "warning", "plays", (*_SOLVED, "processes", "world")),
}


def chosen(only: Iterable[str] = (), skip: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of the checks to run, in order. Raises RecallError for one that does not exist."""
    only, skip = list(only), list(skip)
    for name in (*only, *skip):
        if name not in CHECKS:
            raise RecallError(f"no check {name!r}{did_you_mean(name, CHECKS) or '.'} There are: {listed(CHECKS, 99)}")
    return tuple(name for name in CHECKS if (not only or name in only) and name not in skip)


def run_checks(bench: Bench, names: Iterable[str]) -> tuple[dict[str, Status], list[Finding]]:
    """The verdict of every check named, and all findings. Raises SandboxUnavailable when nothing can be jailed here."""
    verdicts: dict[str, Status] = {}
    found: list[Finding] = []
    for name in names:
        if any(verdicts.get(earlier) == "failed" for earlier in CHECKS[name].after):
            verdicts[name] = "skipped"
            continue
        notes = _notes(bench, CHECKS[name])
        found += [Finding(name, note.severity, note.text) for note in notes]
        severities = {note.severity for note in notes}
        verdicts[name] = "failed" if "error" in severities else "warning" if severities else "ok"
    return verdicts, found


def _notes(bench: Bench, check: Check) -> list[Note]:
    notes: list[Note] = []
    try:
        for note in check.run(bench):
            notes.append(note)
    except SandboxUnavailable:
        raise
    except OutOfTime:
        notes.append(fault(f"not done: a task has {bench.settings.budget_s:g} s for all checks"))
    except EnvError as error:
        notes.append(fault(f"the source does not load each time, or the rubric raises: {error}"))
    except RecallError as error:  # the jail broke: whatever the task did, it is not proved
        notes.append(fault(f"could not be checked: {error}"))
    except Exception as error:  # a row may hold anything; one that no check foresaw must not end a run over thousands
        notes.append(fault(f"could not be checked: {type(error).__name__}: {error}"))
    return notes
