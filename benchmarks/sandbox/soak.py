"""Many calls while episodes, zygotes and jails are killed at random: each call ends in exactly one way, nothing grows.

Every call carries a token of its own, which the tool appends to a list in its memory and sends back with that list.
A call is well accounted for when it comes to its own token after exactly the tokens its episode had before, or to a
status, or to a SandboxFailure, and the kills explain every one that is not the first.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sandbox import process_tree
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.killer import Killer
from benchmarks.sandbox.live import warm
from benchmarks.sandbox.report import say
from benchmarks.sandbox.sampler import Sampler
from recall_env.errors import EnvError, SandboxFailure
from recall_env.sandbox import JailPool

SOURCE = """
SEEN = []


def echo(token):
    SEEN.append(token)
    return {"token": token, "seen": SEEN}
"""
FLAT = 1.1  # the last tenth, times the first
SAY_EVERY_S = 5.0
OPEN_TRIES = 50  # in a row; kills explain a few
FAULTS_KEPT = 20


@dataclass(frozen=True)
class Size:
    calls: int = 1_000_000
    episodes: int = 50_000
    threads: int = 8
    kill_every_s: float = 0.5  # in the mean
    sample_every_s: float = 0.5
    seed: int = 0  # of who is killed when; what that meets is up to the machine


QUICK = Size(calls=10_000, episodes=500, kill_every_s=0.05, sample_every_s=0.05)


@dataclass
class Tally:
    """What one thread's calls came to."""

    calls: int = 0
    episodes: int = 0
    opens_failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # replies that are not this call's


class Tickets:
    """Hands out episodes: a number and how many calls it makes. Thread-safe."""

    def __init__(self, size: Size) -> None:
        self._each, self._left, self._next = -(-size.calls // size.episodes), size.calls, 0
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int]:
        with self._lock:
            calls = min(self._each, self._left)
            self._left -= calls
            self._next += 1
            return self._next, calls

    def cancel(self) -> None:
        with self._lock:
            self._left = 0


def measure(size: Size) -> Measured:
    pool, tallies, tickets = JailPool(), [Tally() for _ in range(size.threads)], Tickets(size)
    faults: list[BaseException] = []
    threads = [
        threading.Thread(target=_run, args=(pool, tickets, tally, faults), name=f"soak-{number}")
        for number, tally in enumerate(tallies)
    ]
    try:
        warm(pool)
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        with Killer(size.kill_every_s, size.seed) as killer, Sampler(size.sample_every_s) as sampler:
            _await(threads, tallies, size, start)
        elapsed_s = time.perf_counter() - start
    finally:
        pool.close()
    if faults:
        raise faults[0]
    measured = Measured()
    _count(measured, tallies, killer.kills, elapsed_s, size)
    _flat(measured, sampler)
    left = len(process_tree.jails().nsjails) + len(process_tree.cgroup_folders())
    measured.claims.append(Claim("soak, jails and cgroup folders left", measured.add("left", left, ""), "", goal=0.0))
    return measured


def _run(pool: JailPool, tickets: Tickets, tally: Tally, faults: list[BaseException]) -> None:
    try:
        while (ticket := tickets.take())[1]:
            number, calls = ticket
            made = 0
            while made < calls:  # an episode that was killed is followed by another one
                made += _episode(pool, number, made, calls, tally)
    except BaseException as fault:
        faults.append(fault)
        tickets.cancel()


def _episode(pool: JailPool, number: int, first: int, last: int, tally: Tally) -> int:
    """Open one, make the calls `first` to `last` of a ticket or as many as it lives for; how many were made."""
    session, seen = _open(pool, number, tally), []
    tally.episodes += 1
    try:
        for call in range(first, last):
            token = f"{number}.{call}"
            tally.calls += 1
            try:
                result = session.call("echo", {"token": token})
            except SandboxFailure:
                tally.outcomes["SandboxFailure"] += 1
                return call + 1 - first
            tally.outcomes[result.status] += 1
            if result.status != "ok":
                return call + 1 - first
            seen.append(token)
            if result.value != {"token": token, "seen": seen}:
                tally.wrong.append(f"call {token} of {seen} came to {result.value}")
                return call + 1 - first
        return last - first
    finally:
        session.close()


def _open(pool: JailPool, seed: int, tally: Tally) -> Any:
    for _ in range(OPEN_TRIES):
        try:
            return pool.open(SOURCE, seed=seed)
        except (SandboxFailure, EnvError):  # EnvError: it was killed while it loaded
            tally.opens_failed += 1
            time.sleep(0.01)
    raise RuntimeError(f"{OPEN_TRIES} episodes in a row could not be opened")


def _await(threads: list[threading.Thread], tallies: list[Tally], size: Size, start: float) -> None:
    said = start
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            if time.perf_counter() - said > SAY_EVERY_S:
                said, done = time.perf_counter(), sum(tally.calls for tally in tallies)
                rate = done / (said - start)
                left_s = (size.calls - done) / rate if rate else 0
                say("soak", f"{done:,} of {size.calls:,} calls, {rate:,.0f} calls/s, {left_s:.0f} s left")


def _count(measured: Measured, tallies: list[Tally], kills: Counter[str], elapsed_s: float, size: Size) -> None:
    outcomes = sum((tally.outcomes for tally in tallies), Counter())
    calls, wrong = sum(tally.calls for tally in tallies), [text for tally in tallies for text in tally.wrong]
    measured.add("calls", calls, "calls")
    measured.add("rate, opening and kills included", calls / elapsed_s, "calls/s")
    measured.add("episodes", sum(tally.episodes for tally in tallies), "episodes")
    measured.add("openings that failed", sum(tally.opens_failed for tally in tallies), "episodes")
    for outcome, count in sorted(outcomes.items()):
        measured.add(f"came to {outcome}", count, "calls")
    for kind in ("episode", "zygote", "nsjail"):
        measured.add(f"kills, {kind}", kills[kind], "kills")
    failed = calls - outcomes["ok"]
    explained = kills["episode"] + size.threads * (kills["zygote"] + kills["nsjail"])
    astray = abs(size.calls - calls) + abs(calls - outcomes.total())
    measured.claims += [
        Claim(f"soak of {size.calls:,} calls, not accounted for once", astray, "calls", goal=0.0),
        Claim("soak, replies that are another call's", len(wrong), "calls", goal=0.0),
        Claim("soak, failures that no kill explains", max(0, failed - explained), "calls", goal=0.0),
    ]
    measured.notes += wrong[:FAULTS_KEPT]
    say("soak", f"{calls:,} calls in {elapsed_s:.0f} s; {dict(outcomes)}; killed {dict(kills)}")


def _flat(measured: Measured, sampler: Sampler) -> None:
    measured.series = sampler.series()
    for name, unit in sampler.UNITS.items():
        first, last = sampler.tenths(name)
        measured.add(f"{name}, first tenth", first, unit)
        measured.add(f"{name}, last tenth", last, unit)
        measured.claims.append(
            Claim(f"soak, {name}, last tenth", last, unit, first, "first tenth", "at most", FLAT, "ratio")
        )
