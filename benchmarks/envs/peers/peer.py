"""What a peer's script does besides driving its library: orders come in on stdin, timings go out on stdout.

Run by the peers' own interpreter, as a script beside it: standard library only. The first line of stdin is the Job;
each other one is an order {"loop", "live", "turns", "duration_s"}, answered by {"steps", "elapsed_s"}.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

WALL_FACTOR = 4.0  # times the duration that is timed, for what is not: the beginnings of episodes


@dataclass(frozen=True)
class Job:
    """The same for every party: one tool call, made at every turn."""

    source: str
    name: str
    arguments: dict[str, Any]
    value: Any  # what the call comes to
    question: str
    thought: str  # what the assistant says before the call
    text: str  # the whole turn: thought, and the call as Qwen's models write it

    def function(self) -> Callable[..., Any]:
        """The tool, of a source that is loaded anew."""
        namespace: dict[str, Any] = {}
        exec(compile(self.source, "<tools>", "exec"), namespace)
        return namespace[self.name]


class Timed(NamedTuple):
    steps: int
    elapsed_s: float

    @property
    def us(self) -> float:
        """Of one step."""
        return 1e6 * self.elapsed_s / self.steps


Play = Callable[[int, int], float]  # live episodes, turns of each: begins them all, and times the turns, in seconds


def timed(play: Play, live: int, turns: int, duration_s: float) -> Timed:
    """Plays until `duration_s` were timed. What is not timed, such as beginning episodes, may take a few times that."""
    gc.collect()
    gc.freeze()  # what a party has imported is not to be searched for garbage in its time
    steps, elapsed_s, start = 0, 0.0, time.perf_counter()
    while steps == 0 or (elapsed_s < duration_s and time.perf_counter() - start < WALL_FACTOR * duration_s):
        elapsed_s += play(live, turns)
        steps += live * turns
    return Timed(steps, elapsed_s)


def expect(seen: str, job: Job) -> None:
    """The speed of a broken thing is no figure. Libraries write the value as JSON or as Python: both have this."""
    if str(job.value["total"]) not in seen:
        raise RuntimeError(f"a call came to {seen!r}; expected {job.value}")


def answer(make_loops: Callable[[Job], dict[str, Play]]) -> None:
    """Serve orders until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is not a reply
    loops = make_loops(Job(**json.loads(sys.stdin.readline())))
    print(json.dumps({"ready": list(loops)}), file=replies, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        done = timed(loops[order["loop"]], order["live"], order["turns"], order["duration_s"])
        print(json.dumps(done._asdict()), file=replies, flush=True)
