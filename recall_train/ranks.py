"""This process's place among the ranks of a run. Starting them is the DeepSpeed launcher's work, not ours."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


class Ranks:
    """rank in 0 .. size-1, as the launcher's environment says; alone without one."""

    def __init__(self):
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))

    def share(self, total: int) -> int:
        """This rank's part of `total` things, dealt out evenly; the first ranks get one more."""
        return total // self.size + (self.rank < total % self.size)

    def gather(self, mine: T) -> list[T]:
        """Every rank's value, in rank order, on every rank."""
        if self.size == 1:
            return [mine]
        every: list[Any] = [None] * self.size
        dist.all_gather_object(every, mine)
        return every

    def first(self, action: Callable[[], T]) -> T:
        """Run on rank 0 alone; its result, or its exception, reaches every rank."""
        if self.size == 1:
            return action()
        outcome: list[Any] = [None]
        if self.rank == 0:
            try:
                outcome = [(action(), None)]
            except Exception as e:
                outcome = [(None, e)]
        dist.broadcast_object_list(outcome, src=0)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result
