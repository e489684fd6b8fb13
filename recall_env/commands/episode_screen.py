"""An episode for a person, while it is played: tools, turns, calls with what they came to, answer and score."""

import json
import re
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from recall_env.commands.screen import Screen, signature_text, styled
from recall_env.dialect import Dialect
from recall_env.env import SynToolEnv
from recall_env.registry import point_id
from recall_env.task import Task
from recall_env.tool_call import AGENT_STATUSES

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ROLES = {"system": "blue", "user": "green", "assistant": "magenta", "tool": "cyan"}


class EpisodeScreen:
    """A Watcher. It shows a call by its name and arguments, where the model's text has it in its dialect's form."""

    def __init__(self, screen: Screen, env: SynToolEnv, task: Task, seed: int, by_hand: bool = False):
        """by_hand: who plays has just typed the turn, and needs not see it again."""
        self._screen, self._env, self._task, self._seed, self._by_hand = screen, env, task, seed, by_hand
        self._turn = 0

    def began(self, info: dict[str, Any]) -> None:
        facts = [("family", self._task.family), ("calls", self._task.calls_needed), ("seed", self._seed)]
        facts.append(("dialect", self._env.dialect.name))
        known = ", ".join(f"{name} {value}" for name, value in facts if value is not None)
        self._screen.write(styled(point_id(self._task.id), "bold").append_text(styled(f"  {known}", "dim")), hang=2)
        self._screen.heading("tools", "")
        for schema in self._task.schemas:
            self._screen.write(signature_text(schema), indent=2, hang=4)
        self._messages(info["messages"])

    def wrote(self, action: str) -> None:
        self._turn += 1
        if not self._by_hand:
            self._screen.heading(f"assistant, turn {self._turn}", _ROLES["assistant"])
            if text := turn_text(self._env.dialect, action, self._task.extractor):
                self._screen.write(text, indent=2)

    def stepped(self, info: dict[str, Any]) -> None:
        for call in info["tool_calls"]:
            self._call(call)
        if not info["tool_calls"]:
            self._messages(info["messages"])
        if "termination" in info:
            self._end(info)

    def _messages(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self._screen.heading(message["role"], _ROLES.get(message["role"], ""))
            self._screen.write(message["content"] or "", indent=2)

    def _call(self, call: dict[str, Any]) -> None:
        self._screen.write(call_text(call), indent=2, hang=4)
        status = call["status"]
        colour = "green" if status == "ok" else "yellow" if status in AGENT_STATUSES else "red"
        shown = [(status, f"bold {colour}", text) for text in _came_to(call)]
        if call["stdout"]:
            shown.append(("printed", "dim", call["stdout"].rstrip("\n")))
        for label, style, text in shown:
            if "\n" in text:
                self._screen.write(styled(label, style), indent=4)
                self._screen.write(text, indent=6)
            else:
                self._screen.write(styled(f"{label}  ", style).append_text(styled(text)), indent=4, hang=2)

    def _end(self, info: dict[str, Any]) -> None:
        self._screen.write()
        if not info["valid"]:
            self._screen.write(styled("void  ", "bold red").append_text(styled(info["fault"])))
            return
        answer = Text("none", "dim") if info["answer"] is None else styled(info["answer"], "bold")
        verdict = Text("  right", "bold green") if info["success"] else Text("  not accepted", "bold red")
        self._screen.write(styled("answer  ", "bold").append_text(answer).append_text(verdict))
        if info["termination"] != "answer":
            self._screen.write(f"ended by {info['termination']}", style="yellow")
        self._screen.write()
        self._screen.table(score_rows(info["score"], self._env.rubric.weights))


def turn_text(dialect: Dialect, action: str, extractor: str | None = None) -> Text:
    """A turn, its thought dimmed, without the calls that could be read: these are shown with their results."""
    words = dialect.assistant(action)["content"] or ""
    for call in dialect.parse(action, extractor).calls:
        if call.error is None and call.raw:
            words = re.sub(rf"\s*<tool_call>\s*{re.escape(call.raw)}\s*</tool_call>", "", words, count=1)
    text, last = Text(end=""), 0
    words = words.strip()
    for thought in _THOUGHT.finditer(words):
        text.append_text(styled(words[last : thought.start()])).append_text(styled(thought[0], "dim italic"))
        last = thought.end()
    return text.append_text(styled(words[last:]))


def call_text(call: Mapping[str, Any]) -> Text:
    """name(arg=value, ...), with values as JSON."""
    text = styled(call["name"] or "?", "bold cyan").append("(")
    for number, (name, value) in enumerate(call["arguments"].items()):
        text.append(", " * bool(number)).append_text(styled(name, "cyan")).append("=")
        text.append_text(styled(json.dumps(value, ensure_ascii=False)))
    return text.append(")")


def _came_to(call: Mapping[str, Any]) -> list[str]:
    """What stands beside the status: the value, the error, or both where a long value was cut."""
    error = call["error"]
    words = [] if error is None else [": ".join(part for part in (error["type"], error["message"]) if part)]
    if error is None or call["value"] is not None:
        value = call["value"]
        is_text = isinstance(value, str) and "\n" in value
        words.insert(0, value if is_text else json.dumps(value, ensure_ascii=False))
    return words


def score_rows(score: Mapping[str, Any], weights: Mapping[str, float | None]) -> list[tuple[Text | str, ...]]:
    """Every part under the one it belongs to, and the total."""
    rows: list[tuple[Text | str, ...]] = [("part", "value", "weight")]
    for path, value in score["values"].items():
        weight = weights.get(path)
        style = "dim" if not weight else "green" if value == 1.0 else "red" if value == 0.0 else "yellow"
        name = "  " * path.count(".") + path.rpartition(".")[2]
        rows.append((styled(name, style), styled(f"{value:.4g}", style), "" if weight is None else f"{weight:g}"))
    return [*rows, (styled("total", "bold"), styled(f"{score['total']:.4g}", "bold"), "")]
