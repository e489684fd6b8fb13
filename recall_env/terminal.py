"""What recall-env shows and reads on a terminal: tables, progress, a person at the keyboard."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recall_env.errors import RecallError
from recall_env.evaluate import Evaluation, Played, Tally
from recall_env.registry import point_id
from recall_env.schema import function_of
from recall_env.task import Task


class Hand:
    """A person at the keyboard: reads a turn from stdin, up to an empty line."""

    def __init__(self, prefill: str):
        self._prefill, self._shown = prefill, 0

    def act(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        if not self._shown:
            for schema in tools or ():
                say(f"tool {signature(schema)}")
        for message in messages[self._shown :]:
            if message["role"] != "assistant":
                print(f"[{message['role']}]\n{message['content']}\n", flush=True)
        self._shown = len(messages)
        say(f"your turn, ended by an empty line{' (it begins with ' + self._prefill + ')' if self._prefill else ''}:")
        lines = []
        for line in sys.stdin:
            if not line.strip():
                break
            lines.append(line)
        if not lines:
            raise RecallError("the episode was left: no turn came from stdin")
        return "".join(lines).rstrip("\n")


@contextmanager
def progress(total: int) -> Iterator[Callable[[Played], None]]:
    """Yields what to call after each episode: it moves a bar on a terminal, else says a line every tenth."""
    done: list[Played] = []
    if not sys.stderr.isatty():

        def line(played: Played) -> None:
            done.append(played)
            if len(done) % max(1, -(-total // 10)) == 0 or len(done) == total:
                say(f"{len(done)}/{total} episodes, success {Tally.of(done).success:.3f}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("playing", total=total)

        def advance(played: Played) -> None:
            done.append(played)
            bars.update(bar, advance=1, description=f"success {Tally.of(done).success:.3f}")

        yield advance


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Yields what to call per piece of work: it moves a bar on a terminal, else says a line every tenth."""
    done = 0
    if not sys.stderr.isatty():

        def line() -> None:
            nonlocal done
            done += 1
            if done % max(1, -(-total // 10)) == 0 or done == total:
                say(f"{what}: {done}/{total}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda: bars.advance(bar)


def table(result: Evaluation) -> str:
    rows = [("", "episodes", "success", "95% interval")]
    for name, tally in [*result.families.items(), ("all", result.overall)]:
        rows.append((name, str(tally.episodes), f"{tally.success:.3f}", f"[{tally.low:.3f}, {tally.high:.3f}]"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    refused = [one.fault_text for one in result.episodes if one.termination == "refused"]
    if refused:
        lines.append(f"{len(refused)} episodes ended because the endpoint refused a turn, the first: {refused[0]}")
    void = f"void: {result.infra} infra, {result.env_errors} environment errors"
    return "\n".join([*lines, f"mean reward {result.mean_reward:.3f}; {void}; sandbox {result.settings.sandbox}"])


def task_line(task: Task) -> dict[str, Any]:
    return {
        "id": point_id(task.id),
        "family": task.family,
        "difficulty": task.difficulty,
        "n_calls": task.calls_needed,
        "question": task.question,
    }


def signature(schema: dict[str, Any]) -> str:
    function = function_of(schema)
    parameters = function.get("parameters") or {}
    required = parameters.get("required", [])
    shown = [
        f"{name}: {part.get('type', 'any')}" + ("" if name in required else " (optional)")
        for name, part in parameters.get("properties", {}).items()
    ]
    about = (function.get("description") or "").split("\n")[0]
    return f"{function['name']}({', '.join(shown)})" + (f": {about}" if about else "")


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
