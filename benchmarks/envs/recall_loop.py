"""The baseline's side of a step: what ReCall's rollout does with a batch of turns, written from its published words.

All turns of the batch are parsed, all their calls are posted from one pool of 8 threads, a new connection each, and
when the last one is back all are rendered. The text and its quirks are those of recall_env/dialect/recall.py. The
server is benchmarks/sandbox/recall_server.py. Nothing is kept of an episode, so beginning one costs nothing.
"""

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from benchmarks.envs.peers.peer import Job, Play, expect

THREADS = 8
TIMEOUT_S = 30.0
CALL = re.compile(r"<tool_call>((?:(?!</tool_call>).)*)</tool_call>", re.DOTALL)

Post = Callable[[str, dict[str, Any]], Any]


def loop(port: int, job: Job, post: Post = requests.post) -> Play:
    """post: requests.post, as ReCall does it, or that of a Session, which keeps its connections."""
    url = f"http://127.0.0.1:{port}/execute"

    def execute(code: str) -> dict[str, Any]:
        return post(url, json={"env": job.source, "call": code, "timeout": 5}, timeout=TIMEOUT_S).json()

    def play(live: int, turns: int) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as threads:
            for _ in range(turns):
                calls = [_calls(job.text) for _ in range(live)]
                answers = iter(list(threads.map(execute, [code for turn in calls for _, code in turn])))
                for turn in calls:
                    expect(_rendered([(raw, next(answers)) for raw, _ in turn]), job)
        return time.perf_counter() - start

    return play


def _calls(text: str) -> list[tuple[str, str]]:
    """Each call of a turn as written, and as Python."""
    found = []
    for match in CALL.finditer(text):
        raw = match[1].strip()
        call = json.loads(raw)
        arguments = ", ".join(f"{name}={value!r}" for name, value in call["arguments"].items())
        found.append((raw, f"{call['name']}({arguments})"))
    return found


def _rendered(results: list[tuple[str, dict[str, Any]]]) -> str:
    blocks = []
    for raw, answer in results:
        shown = "\n".join(f"{part}: \n{answer[part]}" for part in ("result", "output", "error") if answer[part])
        blocks.append(f"<tool_response>{raw}\n{shown.strip()}\n</tool_response>\n")
    return f"\n<|im_start|>user\n{''.join(blocks)}<|im_end|>\n<|im_start|>assistant\n<think>"
