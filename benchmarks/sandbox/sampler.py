"""A thread that looks, now and then, at what this process and its jails hold of the machine."""

import os
import statistics
import threading
import time
from typing import ClassVar

from benchmarks.sandbox import process_tree

SERIES_POINTS = 100


class Sampler:
    UNITS: ClassVar = {"memory": "MB", "descriptors": "", "processes": "", "cgroup folders": ""}

    def __init__(self, every_s: float) -> None:
        self._every_s, self._start = every_s, time.perf_counter()
        self._samples: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def tenths(self, name: str) -> tuple[float, float]:
        """Medians of the first and of the last tenth of the run."""
        values = [sample[name] for sample in self._samples]
        part = max(1, len(values) // 10)
        return statistics.median(values[:part]), statistics.median(values[-part:])

    def series(self) -> dict[str, list[float]]:
        kept = self._samples[:: -(-len(self._samples) // SERIES_POINTS)]
        return {name: [sample[name] for sample in kept] for name in ("elapsed_s", *self.UNITS)}

    def _run(self) -> None:
        while not self._stop.wait(self._every_s) or not self._samples:
            self._samples.append(self._look())

    def _look(self) -> dict[str, float]:
        return {
            "elapsed_s": round(time.perf_counter() - self._start, 2),
            "memory": round(process_tree.rss_mb(), 2),
            "descriptors": process_tree.descriptors(),
            "processes": len(process_tree.descendants(os.getpid())),
            "cgroup folders": len(process_tree.cgroup_folders()),
        }
