"""Words for a person at a terminal: a line, progress, what a list says of a task."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recall_env.registry import point_id
from recall_env.task import Task

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Yields what to call per piece of work: it moves a bar on a terminal, else says a line every tenth.

    It takes words that follow the count, what is known so far.
    """
    if not sys.stderr.isatty():
        done = 0

        def line(so_far: str = "") -> None:
            nonlocal done
            done += 1
            if done % max(1, -(-total // 10)) == 0 or done == total:
                say(f"{what}: {done}/{total}{so_far}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda so_far="": bars.update(bar, advance=1, description=what + so_far)


def task_line(task: Task) -> dict[str, Any]:
    """What a list says of it."""
    return {
        "id": point_id(task.id),
        "family": task.family,
        "difficulty": task.difficulty,
        "n_calls": task.calls_needed,
        "question": task.question,
    }


def parameters_of(function: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Name, type and whether it may be left out, of each."""
    parameters = function.get("parameters") or {}
    required = parameters.get("required", [])
    properties = parameters.get("properties", {}).items()
    return [(name, _type_of(part), name not in required) for name, part in properties]


def _type_of(part: Any) -> str:
    kind = part.get("type", "any") if isinstance(part, dict) else "any"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def inert(text: str) -> str:
    """The text with what would act on a terminal, and what no terminal can take, spelt out: \\x1b, \\u202e.

    Those are control characters but for the end of a line and the tab, characters that turn the direction of writing,
    and lone surrogates.
    """
    return _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)


def say(words: str) -> None:
    print(inert(words), file=sys.stderr, flush=True)
