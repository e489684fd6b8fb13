"""Calls of one live episode: checked on the host, run in the episode's session, replayed once when the jail breaks.

Not here: what a call looks like in text (dialect/), turns and rewards (env.py), the jail (sandbox/).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recall_env.errors import SandboxFailure, SandboxUnavailable
from recall_env.in_pieces import Pieces, at_once, pieces_of
from recall_env.nearest import did_you_mean, listed
from recall_env.sandbox import wire
from recall_env.sandbox.broker import Broker
from recall_env.sandbox.limits import Limits
from recall_env.sandbox.session import Mode, Pool, Session
from recall_env.schema import argument_check, function_of
from recall_env.task import Task
from recall_env.tool_call import AGENT_STATUSES, PlayedCall, ToolCall, ToolResult, copied


@dataclass
class Telemetry:
    """Wall-clock figures of one episode. Kept out of `info`, which must be the same in every replay."""

    open_s: list[float] = field(default_factory=list)  # per session opened
    call_s: list[float] = field(default_factory=list)  # per call that reached a session, replays included
    step_s: list[float] = field(default_factory=list)
    infra_retries: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data that shares nothing with this."""
        return {
            "open_s": [*self.open_s],
            "call_s": [*self.call_s],
            "step_s": [*self.step_s],
            "infra_retries": self.infra_retries,
        }


def bounded(call: ToolCall) -> ToolCall:
    """The call, or a refused one without its arguments when they nest deeper than the wire allows."""
    try:
        wire.check_depth(call.arguments)
    except wire.WireError:
        return call._replace(arguments={}, error=f"arguments nest deeper than {wire.MAX_DEPTH} levels")
    return call


def blame(results: list[PlayedCall]) -> str | None:
    """Whose fault the calls of a turn that did not come back ok were; the agent's before the tool's."""
    whose = None
    for _, result in results:
        if result.status in AGENT_STATUSES:
            return "agent"
        if result.status != "ok":
            whose = "tool"
    return whose


def call_info(index: int, call: ToolCall, result: ToolResult) -> dict[str, Any]:
    """An entry of info["tool_calls"]; it shares nothing with the episode."""
    return {
        "index": index,
        "call_id": call.call_id,
        "name": call.name,
        "arguments": copied(call.arguments),
        **result_info(result),
    }


def result_info(result: ToolResult) -> dict[str, Any]:
    """An entry of info["final_state"], and the part of one of info["tool_calls"] that says what came back."""
    error = None
    if result.error_type or result.error_message:
        error = {"type": result.error_type, "message": result.error_message}
    return {"status": result.status, "value": copied(result.value), "stdout": result.stdout, "error": error}


class ToolRunner:
    """Runs the calls of one episode, in pieces (in_pieces.py). A session is opened at the first call that passes its
    checks."""

    def __init__(
        self,
        task: Task,
        open_pool: Callable[[], Pool],
        *,
        seed: int,
        mode: Mode,
        checks_arguments: bool,
        telemetry: Telemetry,
        others: tuple[str, ...] = (),
        broker: Broker | None = None,
    ):
        """others: names that the model may mean and that are no tools of the task. broker: of the task's services."""
        self._task, self._open_pool, self._seed, self._mode = task, open_pool, seed, mode
        self._checks_arguments, self._telemetry = checks_arguments, telemetry
        functions = map(function_of, task.schemas)
        self._parameters = {function["name"]: function.get("parameters") or {} for function in functions}
        self._checks: dict[str, Callable[[dict[str, Any]], str | None]] = {}  # by tool, made when first needed
        self._names = (*self._parameters, *others)
        self._broker = broker
        self._session: Session | None = None
        self._call_in_pieces: Callable[..., Pieces[ToolResult]]  # of the session
        self._done: list[PlayedCall] = []  # what reached the session, for a replay

    def run(self, call: ToolCall) -> Pieces[PlayedCall]:
        """The call, with what it came to. After a broken jail the episode is replayed once in a new one.

        Raises EnvError when the source does not load, SandboxUnavailable when this machine has no jail, and
        SandboxFailure when the second jail broke too or does not repeat what the first one answered.
        """
        refusal = self._refusal(call)
        return self._reach(call) if refusal is None else at_once((call, refusal))

    def look(self, function: str) -> Pieces[PlayedCall]:
        """What a function of the source returns that the model is not shown: for rubrics, after the last turn.

        Raises what `run` raises.
        """
        return self._reach(ToolCall(function, {}))

    @property
    def closes_at_once(self) -> bool:
        """Whether `close` takes but a moment."""
        return self._session is None or getattr(self._session, "closes_at_once", False)

    def close(self) -> None:
        """End the session. Closing twice is harmless."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _reach(self, call: ToolCall) -> Pieces[PlayedCall]:
        todo: list[tuple[ToolCall, ToolResult | None]] = [(call, None)]  # and what it must come to
        for replayed in (False, True):
            try:
                for each, expected in todo:
                    if self._session is None:
                        yield from self._open()
                    start = time.perf_counter()
                    try:
                        result = yield from self._call_in_pieces(each.name, each.arguments)
                    finally:
                        self._telemetry.call_s.append(time.perf_counter() - start)
                    if result.status == "sandbox_failure":
                        raise SandboxFailure(result.error_message or "the sandbox failed without a reason")
                    if expected not in (None, result):
                        raise SandboxFailure(f"task {self._task.id}: {each.name} answered differently when replayed")
                break
            except SandboxUnavailable:
                raise
            except SandboxFailure:
                if replayed:
                    raise
                self._telemetry.infra_retries += 1
                self.close()
                todo = [*self._done, (call, None)]
        played = call, result
        self._done.append(played)
        return played

    def _refusal(self, call: ToolCall) -> ToolResult | None:
        if call.error is not None:
            return ToolResult("parse_error", error_message=call.error)
        if call.name not in self._parameters:
            hint = did_you_mean(call.name, self._names) or f"; the tools are {listed(self._names, 20)}"
            return ToolResult("unknown_tool", error_message=f"no tool {_short(call.name)!r}{hint}")
        if self._checks_arguments:
            check = self._checks.get(call.name)
            if check is None:
                check = self._checks[call.name] = argument_check(self._parameters[call.name])
            error = check(call.arguments)
            if error is not None:
                return ToolResult("invalid_arguments", error_message=error)
        return None

    def _open(self) -> Pieces[None]:
        start, task = time.perf_counter(), self._task
        self._session = yield from pieces_of(self._open_pool(), "open")(
            task.source,
            state=task.state,
            seed=self._seed,
            mode=self._mode,
            limits=Limits().overridden(task.limits) if task.limits else None,
            services=self._broker.channel(task.services) if self._broker and task.services else None,
        )
        self._call_in_pieces = pieces_of(self._session, "call")
        self._telemetry.open_s.append(time.perf_counter() - start)


def _short(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."
