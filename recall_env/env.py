"""SynToolEnv: one Task as a Gymnasium environment. Text in, text out; tools run in the episode's own jail.

The rules of an episode: turns, the end, the reward, what `info` says. Not here: the form of the text (dialect/),
checks and retries of calls (calls.py), rewards (rubric/), the jail (sandbox/).
"""

import re
import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from recall_env.answer import EXTRACTORS
from recall_env.calls import Telemetry, ToolRunner, blame, bounded, call_info, result_info
from recall_env.dialect import DIALECTS
from recall_env.dialect.base import Message, Turn, message_text, readable
from recall_env.errors import EnvError, JudgeFailure, RecallError, SandboxFailure, SandboxUnavailable, TaskError
from recall_env.in_pieces import SLOW, Pieces, finish
from recall_env.nearest import did_you_mean, listed
from recall_env.packages import rubric_of
from recall_env.playable import check_playable
from recall_env.rubric import Episode, PlayedTurn, Rubric, Score, Termination
from recall_env.sandbox.broker import shared_broker
from recall_env.sandbox.session import Pool
from recall_env.spaces import Unicode
from recall_env.task import Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import PlayedCall, ToolResult, copied

__all__ = ["SynToolEnv"]

Step = tuple[str, float, bool, bool, dict[str, Any]]  # what `step` returns, as Gymnasium has it

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CHOICES = ("task", "index", "id")
_SANDBOXES = {"nsjail": "in a jail", "unsafe": "without one"}


class SynToolEnv(gym.Env[str, str]):
    """Observation: the text to append. Action: one assistant turn, as text.

    The same seed and actions give the same `info`; wall-clock figures are in `telemetry()`. Its keys:

    - at every reset and step `task_id`, `turn` (turns taken), `messages` (what this reset or step appended, as OpenAI
      messages), `tool_calls` (index, call_id, name, arguments, status, value, stdout, error), `failure` (None,
      "agent", "tool" or "infra"), `valid` (False only for infra);
    - at reset also `tools` (schemas for the chat template) and `seed` (of the session);
    - at the end also `answer`, `termination` ("answer", "max_turns", "budget" or "infra"), `success`, `score` (total,
      values; verdicts where a judge gave any), `final_state` where the rubric asks for it, and `fault`, the reason,
      where valid is False.
    """

    # Gymnasium's; render_fps is there because it asks for it.
    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (Gymnasium reads a plain dict)

    def __init__(
        self,
        dataset: str = "syntool",
        split: str = "train",
        index: int | None = None,
        task_id: str | None = None,
        dialect: str = "hermes",
        rubric: str | Rubric = "answer",
        max_turns: int = 10,
        time_budget_s: float | None = None,
        text_budget: int | None = None,
        sandbox: str | Pool = "nsjail",
        render_mode: str | None = None,
        tasks: TaskSet | None = None,
        gate: bool = False,
        services: Mapping[str, str] | None = None,
    ):
        """dataset, split: as in `TaskSet.load`; opened at the first reset that needs it. `tasks` goes before both.

        index or task_id: always play this task (not `id`: gym.make has an argument of that name); neither: reset
        draws one by its seed. rubric: a Rubric, what `load_rubric` takes, or the contributed environment whose own it
        is. time_budget_s: of all calls of an episode together, on the wall's clock. text_budget: letters of all turns
        and replies together; tokens are the trainer's to count. Both truncate after the turn that went over. gate:
        refuse, at reset, a source with findings (`recall_env.gate`). sandbox: a kind that
        `recall_env.sandbox.shared_pool` knows, or a Pool. services: name -> address, of those that tools may ask when
        their task names them (`recall_env.sandbox.broker`).
        Raises RecallError for a name that does not exist.
        """
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise RecallError(f"render_mode: expected None or 'ansi', got {render_mode!r}")
        if index is not None and task_id is not None:
            raise RecallError("give index or task_id, not both")
        if not isinstance(max_turns, int) or max_turns < 1:
            raise RecallError(f"max_turns: expected an integer of at least 1, got {max_turns!r}")
        for name, budget in (("time_budget_s", time_budget_s), ("text_budget", text_budget)):
            if budget is not None and not budget > 0:
                raise RecallError(f"{name}: expected None or more than 0, got {budget!r}")
        if isinstance(sandbox, str):
            _known("sandbox", sandbox, _SANDBOXES)
        self.observation_space, self.action_space = Unicode(), Unicode()
        self.render_mode, self.max_turns, self.sandbox = render_mode, max_turns, sandbox
        self.time_budget_s, self.text_budget = time_budget_s, text_budget
        self.dialect = DIALECTS[_known("dialect", dialect, DIALECTS)]
        self.rubric = rubric_of(rubric)
        if self.rubric.state_functions and self.dialect.mode != "stateful":
            raise RecallError(f"the dialect {dialect} keeps no state between calls, so StateEquals cannot look at any")
        self._dataset, self._split, self._index, self._tasks = dataset, split, index, tasks
        self._task_id, self.gate = task_id, gate
        self._broker = shared_broker(services or {})
        self._task: Task | None = None
        self._runner: ToolRunner | None = None
        self._telemetry = Telemetry()
        self._turns: list[PlayedTurn] = []
        self._written = 0  # letters of turns and replies
        self._transcript: list[Message] = []
        self._ended = True
        self._seed = 0

    @property
    def tasks(self) -> TaskSet:
        """The set that resets draw from. Raises TaskError when it cannot be loaded."""
        if self._tasks is None:
            self._tasks = TaskSet.load(self._dataset, self._split)
        return self._tasks

    @property
    def task(self) -> Task | None:
        """The Task of this episode, truth and gold included: for agents that cheat (GoldAgent) and for scoring."""
        return self._task

    @property
    def services(self) -> Mapping[str, str]:
        """Name -> address, of those that tools may ask."""
        return self._broker.addresses

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode. options: at most one of "task" (a Task, or a row as a dict), "index", "id".

        Raises TaskError for a task that does not exist or cannot be played, RecallError for an unknown option.
        """
        super().reset(seed=seed)
        self._close_session()
        self._ended = True
        # Drawn before the task, so that a task has the same world whether it was drawn or named.
        self._seed = int(self.np_random.integers(2**31))
        self._task = self._choose(options or {})
        check_playable(self._task, self.dialect, gate=self.gate, services=self._broker.addresses)
        self._telemetry = Telemetry()
        self._runner = ToolRunner(
            self._task,
            self._pool,
            seed=self._seed,
            mode=self.dialect.mode,
            checks_arguments=self.dialect.checks_arguments,
            telemetry=self._telemetry,
            others=self.dialect.own_tools,
            broker=self._broker,
        )
        self._turns, self._written = [], 0
        messages = self.dialect.start(self._task)
        self._transcript = messages
        info = self._info(messages, [])
        info["tools"] = self.dialect.template_tools(self._task)
        info["seed"] = self._seed
        self._ended = False
        return self.dialect.observation(messages), info

    def step(self, action: str | Message) -> Step:
        """Take one assistant turn. Its calls run in order; a turn without a call is the answer and ends the episode.

        action: text; in the openai dialect also an assistant message as a dict, which is the same as its JSON text.
        Raises EnvError (the author's fault: the source does not load, the rubric raised), SandboxUnavailable (no
        jail on this machine) and gymnasium's ResetNeeded. A jail that broke twice ends the episode as void:
        truncated, reward 0, info["valid"] False, no text.
        """
        return finish(self.step_in_pieces(action))

    def step_in_pieces(self, action: str | Message) -> Pieces[Step]:
        """The same, for who has more to do than to wait for it: it yields where it waits for a tool (in_pieces.py)."""
        text, start = self._text_of(action), time.perf_counter()
        try:
            turn, said = self.dialect.parse(text, self._task.extractor), self.dialect.assistant(text)
            self._transcript.append(said)
            results: list[PlayedCall] = []
            for call in map(bounded, turn.calls):
                try:
                    results.append((yield from self._runner.run(call)))
                except SandboxUnavailable:
                    raise
                except SandboxFailure as failure:
                    results.append((call, ToolResult("sandbox_failure", error_message=str(failure))))
                    self._turns.append(PlayedTurn(said["content"], tuple(results)))
                    return self._void(self._info([], results), failure)
            self._turns.append(PlayedTurn(said["content"], tuple(results)))
            messages = self.dialect.render(results) if turn.calls else []
            observation = self.dialect.observation(messages) if turn.calls else ""
            self._transcript += messages
            self._written += len(text) + len(observation)
            info, termination = self._info(messages, results), self._termination(turn)
            if termination is None:
                return observation, 0.0, False, False, info
            return (yield from self._finish(turn, termination, observation, info))
        except EnvError as error:
            self._end()
            where = f"{self._dataset if self._tasks is None else self.tasks.name} task {self._task.id}"
            raise EnvError(f"{where}, seed {self._seed}: {error}") from error
        except BaseException:
            self._end()
            raise
        finally:
            self._telemetry.step_s.append(time.perf_counter() - start)

    def render(self) -> str | None:
        """The episode so far as text, in mode "ansi"."""
        if self.render_mode is None:
            return None
        return "\n".join(f"[{message['role']}]\n{readable(message)}\n" for message in self._transcript)

    def close(self) -> None:
        """End the episode's session. Closing twice is harmless."""
        self._end()

    def telemetry(self) -> dict[str, Any]:
        """Seconds spent in this episode: open_s, call_s, step_s (lists), and infra_retries."""
        return self._telemetry.to_json()

    def _text_of(self, action: str | Message) -> str:
        if self._ended or self._task is None or self._runner is None:
            raise gym.error.ResetNeeded("the episode has ended, or none was begun: call reset() first")
        if not isinstance(action, str):
            if not isinstance(action, Mapping) or not self.dialect.takes_messages:
                raise RecallError(f"action: expected the assistant's text, got {type(action).__name__}")
            action = message_text(action)
        return as_text(action)

    def _termination(self, turn: Turn) -> Termination | None:
        """How the episode ends with this turn, or None while it goes on."""
        if not turn.calls:
            return "answer"
        if len(self._turns) >= self.max_turns:
            return "max_turns"
        if self.text_budget is not None and self._written > self.text_budget:
            return "budget"
        if self.time_budget_s is None:
            return None
        return "budget" if sum(self._telemetry.open_s) + sum(self._telemetry.call_s) > self.time_budget_s else None

    def _answer(self, turn: Turn) -> str | None:
        extractor = self._task.extractor
        if turn.calls or extractor is None or turn.text is None:
            return turn.answer
        return EXTRACTORS[extractor](turn.text)

    def _finish(self, turn: Turn, termination: Termination, observation: str, info: dict[str, Any]) -> Pieces[Step]:
        """The end of an episode: its score, and what `info` says of it beside what every step's says."""
        state: dict[str, ToolResult] = {}
        answer = self._answer(turn)
        try:
            for name in self.rubric.state_functions:
                _, state[name] = yield from self._runner.look(name)
            if not (self.rubric.instant and self._runner.closes_at_once):
                yield SLOW
            score = self.rubric.score(Episode(self._task, tuple(self._turns), answer, termination, state))
        except SandboxUnavailable:
            raise
        except (SandboxFailure, JudgeFailure) as failure:
            return self._void(info, failure)
        if termination == "answer" and answer is None:
            info["failure"] = "agent"
        if state:
            info["final_state"] = {name: result_info(result) for name, result in state.items()}
        self._add_end(info, answer, termination, score)
        return observation, score.total, termination == "answer", termination != "answer", info

    def _void(self, info: dict[str, Any], failure: RecallError) -> Step:
        """The end of an episode that our own fault or a judge's broke. Nothing of it is shown to the model."""
        info |= {"messages": [], "failure": "infra", "valid": False, "fault": str(failure)}
        self._add_end(info, None, "infra", Score(0.0, dict.fromkeys(self.rubric.names, 0.0)))
        return "", 0.0, False, True, info

    def _add_end(self, info: dict[str, Any], answer: str | None, termination: Termination, score: Score) -> None:
        self._end()
        info["answer"], info["termination"] = answer, termination
        info["success"] = score.values["answer"] == 1.0
        info["score"] = {"total": score.total, "values": dict(score.values)}
        if score.verdicts:
            info["score"]["verdicts"] = copied(score.verdicts)

    def _info(self, messages: list[Message], results: list[PlayedCall]) -> dict[str, Any]:
        return {
            "task_id": self._task.id,
            "turn": len(self._turns),
            "messages": copied(messages),
            "tool_calls": [call_info(index, *pair) for index, pair in enumerate(results)],
            "failure": blame(results),
            "valid": True,
        }

    def _choose(self, options: Mapping[str, Any]) -> Task:
        for key in options:
            if key not in _CHOICES:
                raise RecallError(f"reset has no option {key!r}{did_you_mean(key, _CHOICES)}")
        if len(options) > 1:
            raise RecallError(f"reset takes one of the options {listed(_CHOICES)}, got {listed(options)}")
        if "task" in options:
            task = options["task"]
            return task if isinstance(task, Task) else Task.from_row(task, "options['task']")
        index, id = options.get("index"), options.get("id")
        if index is None and id is None:
            index, id = self._index, self._task_id
        if id is not None:
            return self.tasks.by_id(id)
        if not len(self.tasks):
            raise TaskError(f"{self.tasks.name} holds no task")
        if index is None:
            index = int(self.np_random.integers(len(self.tasks)))
        if not isinstance(index, int):
            raise RecallError(f"index: expected an integer, got {index!r}")
        if not -len(self.tasks) <= index < len(self.tasks):
            raise TaskError(f"{self.tasks.name} has {len(self.tasks)} tasks; there is no index {index}")
        return self.tasks[index]

    def _pool(self) -> Pool:
        if not isinstance(self.sandbox, str):
            return self.sandbox
        from recall_env.sandbox import shared_pool  # not at import: it is the heavy part

        return shared_pool(self.sandbox)

    def _end(self) -> None:
        self._ended = True
        self._close_session()

    def _close_session(self) -> None:
        if self._runner is not None:
            self._runner.close()


def _known(what: str, name: str, table: Mapping[str, Any]) -> str:
    if name not in table:
        raise RecallError(f"no {what} {name!r}{did_you_mean(name, table) or '.'} There are: {listed(table)}")
    return name


def as_text(action: str) -> str:
    """An action as the environment reads it: an endpoint's JSON may hold lone surrogates, no file or tokenizer does."""
    return action if action.isascii() else _LONE_SURROGATE.sub("\ufffd", action)
