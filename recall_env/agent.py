"""Agents: who plays an episode. One that knows the gold solution, one that guesses, one behind a chat endpoint."""

import json
import random
from collections.abc import Callable
from typing import Any, Protocol

from recall_env.dialect import DIALECTS, Dialect
from recall_env.dialect.base import Message, message_text
from recall_env.endpoint import Endpoint, one_line, refuse
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean
from recall_env.schema import function_of
from recall_env.task import Task
from recall_env.tool_call import ToolCall

__all__ = ["AGENTS", "Agent", "AgentFailure", "ChatAgent", "GoldAgent", "RandomAgent", "TurnRefused"]

_ABOUT_THE_REQUEST = frozenset([400, 413, 422])


class AgentFailure(RecallError):
    """The endpoint did not answer, after retries. Nobody's move: the episode is void, not lost."""


class TurnRefused(RecallError):
    """An endpoint that has answered before refused this one request: the episode's own fault, its length most often."""


class Agent(Protocol):
    """Who plays: anything with `act`. One of its own for each episode, unless it keeps nothing between turns."""

    def act(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        """The next assistant turn, without the dialect's prefill. messages: the whole episode so far."""


class GoldAgent:
    """Plays the task's own solution, one call a turn, then its answer. What any sound environment must reward.

    It counts its turns in the messages, and repeats its answer when it is asked beyond it.
    """

    def __init__(self, task: Task, seed: int = 0, dialect: Dialect = DIALECTS["hermes"]):
        """Raises RecallError when the task has no solution."""
        if task.solution is None:
            raise RecallError(f"task {task.id} has no gold solution to play")
        last = dialect.write_answer(task, task.solution.answer)
        turns = [*map(dialect.write_call, task.solution.calls), last]
        self._turns = [after_thinking(dialect) + turn for turn in turns]

    def act(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        taken = sum(message["role"] == "assistant" for message in messages)
        return self._turns[min(taken, len(self._turns) - 1)]


class RandomAgent:
    """Calls random tools with arguments drawn to fit their schemas, then answers with a word it has seen."""

    def __init__(self, task: Task, seed: int = 0, dialect: Dialect = DIALECTS["hermes"]):
        self._task, self._dialect = task, dialect
        self._functions = [function_of(schema) for schema in task.schemas]
        self._random = random.Random(seed)

    def act(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        words = " ".join(message["content"] for message in messages[1:]).split()
        if not self._functions or self._random.random() < 0.3:
            answer = self._dialect.write_answer(self._task, self._random.choice(words) if words else "")
            return after_thinking(self._dialect) + answer
        function = self._random.choice(self._functions)
        properties = (function.get("parameters") or {}).get("properties", {})
        arguments = {name: self._value(schema, words) for name, schema in properties.items()}
        return after_thinking(self._dialect) + self._dialect.write_call(ToolCall(function["name"], arguments))

    def _value(self, schema: dict[str, Any], words: list[str]) -> Any:
        if schema.get("enum"):
            return self._random.choice(schema["enum"])
        kind = schema.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "array":
            return [self._value(schema.get("items", {}), words) for _ in range(self._random.randint(0, 3))]
        if kind == "object":
            return {name: self._value(part, words) for name, part in schema.get("properties", {}).items()}
        draws: dict[str, Callable[[], Any]] = {
            "integer": lambda: self._random.randint(0, 20),
            "number": lambda: round(self._random.uniform(0, 20), 2),
            "boolean": lambda: self._random.random() < 0.5,
            "null": lambda: None,
        }
        return draws.get(kind, lambda: self._random.choice(words or ["x"]).strip(".,?!"))()


# By name, for `recall-env eval` and `play`: (task, seed, dialect) -> an agent of one episode.
AGENTS: dict[str, Callable[[Task, int, Dialect], Agent]] = {"gold": GoldAgent, "random": RandomAgent}


class ChatAgent:
    """A model behind an OpenAI-compatible /chat/completions endpoint. Stateless and thread-safe.

    Results go back as user messages that hold `<tool_response>` blocks: what Qwen's template makes of `tool` messages,
    and what every server takes. Calls that the server has parsed itself are written as text again. With native_calls
    (for the openai dialect) all goes as it is: `tool` messages with ids out, the assistant message as JSON text back.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        temperature: float = 0.7,
        max_tokens: int = 1024,
        timeout_s: float = 300.0,
        retries: int = 3,
        native_calls: bool = False,
    ):
        """base_url: up to and with /v1. retries: after the first attempt; waits 1, 2, 4 ... s between them.

        native_calls: the dialect's `takes_messages`.
        """
        self.base_url, self.model, self._native = base_url.rstrip("/"), model, native_calls
        self._endpoint = Endpoint(base_url, api_key=api_key, timeout_s=timeout_s, retries=retries, failure=AgentFailure)
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._tool_choice = "auto"
        self._has_answered = False

    def act(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        """Raises AgentFailure when the endpoint keeps failing, RecallError when it refuses the first request, and
        TurnRefused when it refuses a later one."""
        sent = messages if self._native else _portable(messages)
        body: dict[str, Any] = {"model": self.model, "messages": sent, **self._sampling}
        if tools:
            body |= {"tools": tools, "tool_choice": self._tool_choice}
        reply = self._endpoint.request("POST", "/chat/completions", body)
        refused = reply.status_code == 400 and self._tool_choice == "auto" and "tool" in reply.text
        without_parser = bool(tools) and refused
        if without_parser and not self._native:
            # vLLM without a tool-call parser refuses "auto"; with "none" it still shows the model the tools.
            second = self._endpoint.request("POST", "/chat/completions", body | {"tool_choice": "none"})
            if second.status_code < 400:
                self._tool_choice, reply = "none", second
        if self._has_answered and reply.status_code in _ABOUT_THE_REQUEST:
            raise TurnRefused(f"{reply.url}: HTTP {reply.status_code}: {one_line(reply.text)}")
        refuse(reply, "; a server without a tool-call parser is played in the hermes dialect" * without_parser)
        self._has_answered = True
        try:
            message = reply.json()["choices"][0]["message"]
        except (ValueError, LookupError, TypeError) as e:
            raise AgentFailure(f"{self.base_url}: the reply is no chat completion: {one_line(reply.text)}") from e
        return _with_ids(message, len(messages)) if self._native else _as_text(message)

    def check(self) -> None:
        """Raise RecallError when the endpoint does not answer or does not serve the model."""
        reply = self._endpoint.request("GET", "/models", None)
        if reply.status_code == 404:
            return  # not every server lists its models
        refuse(reply)
        try:
            served = [entry["id"] for entry in reply.json()["data"]]
        except (ValueError, LookupError, TypeError) as e:
            raise RecallError(f"{self.base_url}/models: not a list of models: {one_line(reply.text)}") from e
        if self.model not in served:
            hint = did_you_mean(self.model, served) or f"; it serves {', '.join(served) or 'none'}"
            raise RecallError(f"{self.base_url} does not serve {self.model!r}{hint}")


def after_thinking(dialect: Dialect) -> str:
    """What closes the thought that the dialect's prefill has opened."""
    return "</think>" if dialect.prefill else ""


def _portable(messages: list[Message]) -> list[Message]:
    """The messages with each run of `tool` messages as one user message."""
    portable: list[Message] = []
    for number, message in enumerate(messages):
        if message["role"] != "tool":
            portable.append(message)
            continue
        block = f"<tool_response>\n{message['content']}\n</tool_response>"
        if number and messages[number - 1]["role"] == "tool":
            portable[-1]["content"] += f"\n{block}"
        else:
            portable.append({"role": "user", "content": block})
    return portable


def _as_text(message: dict[str, Any]) -> str:
    """A completion's message as one text: its content, and calls the server has taken out of it."""
    parts = [message.get("content") or ""]
    for call in message.get("tool_calls") or []:
        function = call["function"]
        fields = {"name": function["name"], "arguments": function["arguments"]}  # a JSON text, which hermes accepts
        parts.append(f"<tool_call>\n{json.dumps(fields, ensure_ascii=False)}\n</tool_call>")
    return "\n".join(part for part in parts if part)


def _with_ids(message: dict[str, Any], number: int) -> str:
    """A completion's message as the openai dialect reads it; a call that the server gave no id gets one."""
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        calls = [
            call if not isinstance(call, dict) or call.get("id") else {**call, "id": f"call_{number}_{at}"}
            for at, call in enumerate(calls)
        ]
    return message_text({"role": "assistant", "content": message.get("content"), "tool_calls": calls})
