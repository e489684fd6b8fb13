"""ScriptedEngine: replies come from a function instead of a model. For tests of everything around an engine."""

from collections.abc import Callable, Iterable, Sequence

import torch

from recall_train.engine.base import Generation, Request


class ScriptedEngine:
    """Each request takes as many steps as its reply has tokens, so that turns of different length overtake each other.

    reply: request -> the ids of the turn, stop token included; cut at max_tokens.
    """

    def __init__(self, reply: Callable[[Request], Sequence[int]], *, max_context: int, stop_ids: frozenset[int]):
        self.version = 0
        self.max_context = max_context
        self._reply = reply
        self._stop_ids = stop_ids
        self._running: dict[str, tuple[list[int], int]] = {}  # id -> (the whole reply, tokens given so far)

    def submit(self, request: Request) -> None:
        if len(request.prompt_ids) + request.max_tokens > self.max_context:
            raise ValueError(f"request {request.id}: does not fit a context of {self.max_context}")
        self._running[request.id] = (list(self._reply(request))[: request.max_tokens], 0)

    def step(self) -> list[Generation]:
        finished = []
        for id, (ids, given) in list(self._running.items()):
            self._running[id] = (ids, given + 1)
            if given + 1 >= len(ids):
                del self._running[id]
                finish = "stop" if ids[-1] in self._stop_ids else "length"
                finished.append(Generation(id, tuple(ids), (-0.5,) * len(ids), finish, self.version))
        return finished

    @property
    def inflight(self) -> int:
        return len(self._running)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        for _ in weights:
            pass
        self.version = version

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        self._running.clear()
