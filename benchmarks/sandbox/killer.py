"""A thread that kills episodes, zygotes and nsjails of this process, at random moments, and counts them."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter

from benchmarks.sandbox import process_tree

WEIGHTS = {"episode": 18, "zygote": 1, "nsjail": 1}


class Killer:
    def __init__(self, every_s: float, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._every_s, self._chance = every_s, random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._chance.expovariate(1 / self._every_s)):
            (kind,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if self._kill(kind):
                self.kills[kind] += 1

    def _kill(self, kind: str) -> bool:
        """One process of a kind; False when there is none, or it went away by itself."""
        found = _of_kind(kind)
        if not found:
            return False
        pid = self._chance.choice(found)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if pid not in _of_kind(kind):  # the number may be somebody else's by now; the pidfd is of who has it
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
            return False
        finally:
            os.close(pidfd)


def _of_kind(kind: str) -> list[int]:
    found = process_tree.jails()
    return {"episode": found.episodes, "zygote": found.zygotes, "nsjail": found.nsjails}[kind]
